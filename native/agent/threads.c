/* SPDX-License-Identifier: Apache-2.0
 *
 * Thread blocks: what the agent keeps of a thread that entered an enclave, and the stack
 * that its signals arrive on.  A thread inside has no stack of its own that the host
 * may write to.
 */
#include "agent.h"

#define THREAD_MAGIC 0x7367786772746864ul
#define BLOCKS_BASE (AGENT_BASE + BLOCKS_OFFSET)
#define BLOCKS_END (BLOCKS_BASE + (u64)BLOCKS * BLOCK_SIZE)
#define BLOCK_HEAD 4096
#define GUARD 4096
#define FRAME_SIZE 1024 /* at least, and the state behind it is aligned */

u32 block_owner[BLOCKS];

struct thread *thread_of_stack(void)
{
	u64 sp = (u64)__builtin_frame_address(0);
	struct thread *th = (struct thread *)(sp & ~(u64)(BLOCK_SIZE - 1));

	if (sp < BLOCKS_BASE || sp >= BLOCKS_END)
		return 0;
	return th->magic == THREAD_MAGIC ? th : 0;
}

/* Whoever says that it is one may be wrong; and a block that was being made when the
 * process forked is not there. */
int thread_known(const struct thread *th)
{
	u64 at = (u64)th, magic;

	return at >= BLOCKS_BASE && at < BLOCKS_END && !(at & (BLOCK_SIZE - 1)) &&
	       !agent_copy(&magic, &th->magic, sizeof(magic)) && magic == THREAD_MAGIC;
}

struct k_stack thread_stack(const struct thread *th)
{
	struct k_stack stack = {(u64)th + BLOCK_HEAD, 0, 0, BLOCK_SIZE - BLOCK_HEAD};

	return stack;
}

static int take_block(u32 index, u32 tid)
{
	u32 owner = block_owner[index];

	/* A block is free again when its thread has ended, which may be a child of vfork. */
	if (owner && sys(NR_tkill, owner, 0) != -ESRCH_)
		return 0;
	return __atomic_compare_exchange_n(&block_owner[index], &owner, tid, 0,
					   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Who has a block; the first that nobody ever had ends the search. */
const u32 *thread_owner(u32 index)
{
	return &block_owner[index];
}

struct thread *thread_block(u32 index)
{
	return (struct thread *)(BLOCKS_BASE + (u64)index * BLOCK_SIZE);
}

/* The block that the thread has already: a handler of the program's that began before
 * it had one puts the program's signal stack back when it returns. */
struct thread *thread_of(u32 tid)
{
	for (u32 i = 0; i < BLOCKS; i++)
		if (block_owner[i] == tid && thread_known(thread_block(i)) &&
		    thread_block(i)->tid == tid)
			return thread_block(i);
	return 0;
}

/* A block of that thread's.  In a child of fork its own number is still its parent's. */
int thread_is(const struct thread *th, u32 tid)
{
	return thread_known(th) && block_owner[((u64)th - BLOCKS_BASE) / BLOCK_SIZE] == tid;
}

static struct thread *fresh_block(u32 tid)
{
	struct thread *th;

	for (u32 i = 0; i < BLOCKS; i++) {
		if (!take_block(i, tid))
			continue;
		th = thread_block(i);
		if (sys(NR_mmap, th, BLOCK_SIZE, PROT_READ_ | PROT_WRITE_,
			MAP_PRIVATE_ | MAP_ANONYMOUS_ | MAP_FIXED_ | MAP_NORESERVE_,
			-1ul, 0) < 0) {
			block_owner[i] = 0;
			return 0;
		}
		/* Where the stack ends: near its last bytes the kernel begins it anew, and
		 * a fault that has no end, in a process that broke us, would have none. */
		sys(NR_mprotect, (u64)th + BLOCK_HEAD, GUARD, PROT_NONE_);
		th->tid = tid;
		th->magic = THREAD_MAGIC;
		return th;
	}
	return 0;
}

/* Give the calling thread a block, and its signals the block's stack. */
struct thread *thread_new(struct k_ucontext *uc)
{
	u32 tid = (u32)sys(NR_gettid, 0);
	struct thread *th = thread_of(tid);
	struct k_stack stack;

	if (!th)
		th = fresh_block(tid);
	if (!th)
		return 0;
	th->altstack = uc->stack;
	th->altstack.flags &= ~SS_ONSTACK_;
	stack = thread_stack(th);
	/* The kernel refuses a new signal stack to whoever stands on the old one, so
	 * the call is made with RSP on the new one. */
	agent_set_altstack(&stack, (u64)th + BLOCK_SIZE - 64);
	uc->stack = stack;
	return th;
}

/* Move a signal frame from the program's stack into the block; NULL if it is too big. */
struct k_ucontext *thread_keep_frame(struct thread *th, const struct k_ucontext *uc)
{
	struct k_ucontext *to = (struct k_ucontext *)((u64)th + BLOCK_SIZE / 4);
	u64 size = frame_fp_size(uc->mc.fpstate);

	if (size > BLOCK_SIZE / 2)
		return 0;
	*to = *uc;
	to->mc.fpstate = 0;
	if (size) {
		to->mc.fpstate = (u8 *)th + BLOCK_SIZE / 4 + FRAME_SIZE;
		memcpy(to->mc.fpstate, uc->mc.fpstate, size);
	}
	return to;
}

/* The other threads did not come along; the one that did has another number. */
void threads_forked(void)
{
	for (u32 i = 0; i < BLOCKS; i++) {
		if (!block_owner[i])
			continue;
		block_owner[i] = A.pid;
		if (thread_known(thread_block(i)))
			thread_block(i)->guarded = 0;
	}
	for (u64 i = 0; i < ARRAY_SIZE(A.enclaves); i++)
		A.enclaves[i].threads = 0;
}
