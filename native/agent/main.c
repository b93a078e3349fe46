/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the agent starts, where every signal arrives, and thread blocks.
 */
#include "agent.h"

struct agent_data A __attribute__((section(".bss.first")));

#define THREAD_MAGIC 0x7367786772746864ul
#define BLOCKS_BASE (AGENT_BASE + BLOCKS_OFFSET)
#define BLOCKS_END (BLOCKS_BASE + (u64)BLOCKS * BLOCK_SIZE)
#define BLOCK_HEAD 1024
#define AT_COPY(rip) ((rip) >= (u64)agent_copy_begin && (rip) < (u64)agent_copy_end)

static u32 block_owner[BLOCKS];

void *memcpy(void *to, const void *from, unsigned long size)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
	return start;
}

void *memset(void *to, int value, unsigned long size)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
	return start;
}

void fatal(const char *why)
{
	u64 length = 0;

	while (why[length])
		length++;
	sys(NR_write, 2, why, length);
	for (;;)
		sys(NR_exit_group, 70);
}

/* ---- thread blocks ---- */

struct thread *thread_of_stack(void)
{
	u64 sp = (u64)__builtin_frame_address(0);
	struct thread *th = (struct thread *)(sp & ~(u64)(BLOCK_SIZE - 1));

	if (sp < BLOCKS_BASE || sp >= BLOCKS_END)
		return 0;
	return th->magic == THREAD_MAGIC ? th : 0;
}

int thread_known(const struct thread *th)
{
	u64 at = (u64)th;

	return at >= BLOCKS_BASE && at < BLOCKS_END && !(at & (BLOCK_SIZE - 1)) &&
	       th->magic == THREAD_MAGIC;
}

struct k_stack thread_stack(const struct thread *th)
{
	struct k_stack stack = {(u64)th + BLOCK_HEAD, 0, 0, BLOCK_SIZE - BLOCK_HEAD};

	return stack;
}

static int take_block(u32 index, u32 pid, u32 tid)
{
	u32 owner = block_owner[index];

	/* A block is free again when its thread has ended. */
	if (owner && sys(NR_tgkill, pid, owner, 0) == 0)
		return 0;
	return __atomic_compare_exchange_n(&block_owner[index], &owner, tid, 0,
					   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Give the calling thread a block, and its signals the block's stack. */
struct thread *thread_new(struct k_ucontext *uc)
{
	u32 pid = (u32)sys(NR_getpid, 0), tid = (u32)sys(NR_gettid, 0);
	struct k_stack stack;
	struct thread *th;

	for (u32 i = 0; i < BLOCKS; i++) {
		if (!take_block(i, pid, tid))
			continue;
		th = (struct thread *)(BLOCKS_BASE + (u64)i * BLOCK_SIZE);
		if (sys(NR_mmap, th, BLOCK_SIZE, PROT_READ_ | PROT_WRITE_,
			MAP_PRIVATE_ | MAP_ANONYMOUS_ | MAP_FIXED_ | MAP_NORESERVE_,
			-1ul, 0) < 0)
			return 0;
		th->magic = THREAD_MAGIC;
		th->tid = tid;
		th->altstack = uc->stack;
		th->altstack.flags &= ~SS_ONSTACK_;
		stack = thread_stack(th);
		/* The kernel refuses a new signal stack to whoever stands on the old
		 * one, so the call is made with RSP on the new one. */
		agent_set_altstack(&stack, (u64)th + BLOCK_SIZE - 64);
		uc->stack = stack;
		return th;
	}
	return 0;
}

/* The other threads did not come along; the one that did has another number. */
void threads_forked(void)
{
	for (u32 i = 0; i < BLOCKS; i++)
		if (block_owner[i])
			block_owner[i] = A.pid;
}

/* ---- signals arrive ---- */

/* Linux's rule for its own vDSO: a fault at the ENCLU becomes a return value. */
static int vdso_fixup(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;

	if (f->info->code <= 0 || mc->rip != A.vdso_enclu)
		return 0;
	if (!(SIGBIT(f->sig) & FAULT_SIGNALS) || mc->trapno == 1 || mc->trapno == 3)
		return 0;
	mc->rdi = mc->trapno;
	mc->rsi = mc->err;
	mc->rdx = mc->trapno == 14 ? mc->cr2 : 0;
	mc->rip = A.vdso_fault;
	return 1;
}

/* Traps of our own making outside enclaves: ENCLU, patched sites, CPUID. */
static int our_trap(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	enum site_kind kind = SITE_NONE;

	if (f->info->code <= 0)
		return 0;
	if (f->sig == SIGILL && at_enclu(mc->rip)) {
		kind = SITE_ENCLU;
	} else if (f->sig == SIGTRAP && f->info->code == SI_KERNEL) {
		kind = site_at(mc->rip - 1);
		mc->rip -= kind != SITE_NONE;
	} else if (f->sig == SIGSEGV && f->info->code == SI_KERNEL &&
		   (A.config.flags & CONFIGFLAG_CPUID_FAULTING) && at_cpuid(mc->rip)) {
		kind = SITE_CPUID;
	}
	if (kind == SITE_ENCLU)
		host_enclu(f);
	else if (kind == SITE_CPUID)
		emulate_cpuid(f->uc);
	return kind != SITE_NONE;
}

/* Finish a signal: the vDSO's table, then the program. */
void signal_program(struct frame *f)
{
	if (!vdso_fixup(f))
		deliver(f);
}

static int in_agent(u64 rip)
{
	return rip >= AGENT_BASE && rip < AGENT_BASE + VDSO_OFFSET &&
	       !(rip >= (u64)agent_reissue && rip < (u64)agent_reissue_end);
}

__attribute__((used)) HIDDEN void agent_signal(int sig, struct k_siginfo *info,
					       struct k_ucontext *uc)
{
	struct frame f = {sig, info, uc, thread_of_stack()};
	u64 bit = SIGBIT(sig);

	if (info->code > 0 && AT_COPY(uc->mc.rip)) {
		uc->mc.rip = (u64)agent_copy_fault;
		return;
	}
	if (in_agent(uc->mc.rip)) {
		/* Somebody sent a fault signal while the agent worked: after us. */
		if (info->code > 0)
			fatal("softsgx: internal error: the agent faulted\n");
		sys(NR_rt_sigprocmask, 0, &bit, 0, 8);
		uc->sigmask |= bit;
		sys(NR_rt_tgsigqueueinfo, sys(NR_getpid, 0), sys(NR_gettid, 0), sig,
		    info);
		return;
	}
	/* A SIGTRAP that somebody sent swallows that of a breakpoint of ours, if both are
	 * due at once: then the breakpoint must be met again. */
	if (sig == SIGTRAP && info->code <= 0 && site_at(uc->mc.rip - 1) != SITE_NONE)
		uc->mc.rip--;
	if (is_adapt_request(&f))
		adapt(&f);
	else if (f.th && f.th->inside)
		inside_signal(&f);
	else if (sig == SIGSYS && info->code == SYS_SECCOMP_)
		trapped_syscall(&f);
	else if (!our_trap(&f))
		signal_program(&f);
}

__attribute__((used)) HIDDEN void agent_init(void)
{
	sys(NR_mprotect, AGENT_BASE, DATA_OFFSET, PROT_READ_ | PROT_EXEC_);
	sys(NR_mprotect, AGENT_BASE + DATA_OFFSET, AGENT_SIZE - DATA_OFFSET,
	    PROT_READ_ | PROT_WRITE_);
	sys(NR_madvise, AGENT_BASE + FORK_OFFSET, 4096, MADV_WIPEONFORK_);
	if (A.config.flags & CONFIGFLAG_CPUID_FAULTING)
		sys(NR_arch_prctl, ARCH_SET_CPUID, 0);
	borrowed_memory();
	sites_init();
	signals_init();
}
