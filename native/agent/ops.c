/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls to the supervisor, and the operations on the address space that it answers
 * with: only a process can change its own mappings.
 */
#include "agent.h"
#include "locks.h"
#include "order.h"
#include "tally.h"

#define FEW_TRIES 1000
#define PAGES(length) (((length) + 4095) & ~4095ul)
#define FORK_PAGE ((volatile u32 *)(AGENT_BASE + FORK_OFFSET))

/* Two threads may map and unmap enclaves at once. */
static u32 enclaves_lock;

/* Whose operations are carried out.  Until the supervisor has heard of a new mapping, and
 * watches what is out there, nobody gives it rights: what another thread is about to allow
 * may have been said before. */
static u32 changes;

/* Have what one thread at a time may have.  That nobody gives it back can only be the
 * program's doing: it wrote over our data. */
void take_turn(u32 *turn, u32 tid)
{
	u32 owner = 0, tries = 0;

	while (!__atomic_compare_exchange_n(turn, &owner, tid, 0, __ATOMIC_ACQUIRE,
					    __ATOMIC_RELAXED)) {
		if (++tries % FEW_TRIES == 0 && sys(NR_tkill, owner, 0) < 0 &&
		    __atomic_load_n(turn, __ATOMIC_RELAXED) == owner)
			fatal("softsgx: the program wrote over softsgx's data in its process\n");
		owner = 0;
		sys(NR_sched_yield, 0);
	}
}

void lock_enclaves(void)
{
	take_turn(&enclaves_lock, (u32)sys(NR_gettid, 0));
}

void unlock_enclaves(void)
{
	__atomic_store_n(&enclaves_lock, 0, __ATOMIC_RELEASE);
}

/* An enclave of isgx is not inherited, and neither is our second mapping of it. */
static void enclaves_forked(void)
{
	enclaves_lock = changes = 0; /* whoever held it did not come along */
	order_forked();
	for (u64 i = 0; i < ARRAY_SIZE(A.enclaves); i++)
		if (A.enclaves[i].is_private) {
			curtain_drop(&A.enclaves[i]);
			A.enclaves[i] = (struct enclave){0};
		}
}

/* The page at FORK_PAGE reads zero in a child of fork: it has an address space of its
 * own, and the supervisor learns whose copy it is before it hears anything else. */
static void after_fork(void)
{
	u32 parent = A.pid, torn = enclaves_lock;

	A.pid = (u32)sys(NR_getpid, 0);
	*FORK_PAGE = A.pid;
	if (!parent)
		return;
	enclaves_forked();
	masks_forked();
	actions_forked();
	threads_forked();
	abort_forked(torn != 0);
	curtain_forked(torn != 0);
	takeover_forked();
	locks_forked();
	pages_forked();
	deferred_forked();
	if (!A.parent)
		A.parent = parent;
}

void notice_fork(void)
{
	if (*FORK_PAGE == 0)
		after_fork();
}

/* A child of vfork shares our memory but not our kernel state: what it sets must not
 * be recorded. */
int borrowed_memory(void)
{
	notice_fork();
	return *FORK_PAGE != (u32)sys(NR_getpid, 0);
}

/* Tell of this child.  The supervisor looks what it has: all enclaves in their places. */
static void tell_of_fork(void)
{
	u32 parent = A.parent;

	lock_enclaves();
	abort_withdraw(0, ~0ul);
	unlock_enclaves();
	A.parent = 0;
	A.config.pid = (u32)call_plainly(CALL_FORKED, parent, 0);
	if (A.config.tier >= 2)
		pages_offer();
}

/* Of a call in which no fork is told of, and no lock matters. */
long call_plainly(u64 call, u64 a, u64 b)
{
	long ret;

	do
		ret = sys(CALL_NR, call, a, b);
	while (ret == -EINTR_);
	return ret;
}

/* A supervisor that is gone lets its system call fall through to the kernel. */
long call_supervisor(u64 call, u64 a, u64 b, u64 c, u64 d, u64 e)
{
	long ret;

	notice_fork();
	if (A.parent)
		tell_of_fork();
	/* A signal that came before the supervisor saw the call interrupts it; or it is
	 * another supervisor's from now on. */
	do
		ret = sys(CALL_NR, call, a, b, c, d, e);
	while (ret == -EINTR_);
	if (ret == -ENOSYS_)
		fatal("softsgx: the supervisor is gone, the program cannot go on\n");
	return ret;
}

struct enclave *enclave_of(u64 address)
{
	for (u64 i = 0; i < ARRAY_SIZE(A.enclaves); i++) {
		struct enclave *e = &A.enclaves[i];

		if (e->size && address - e->base < e->size)
			return e;
	}
	return 0;
}

/* The same, so that its second mapping stays until it is let go: another thread may be
 * unmapping it.  Either that thread sees us, or we see that it is gone. */
struct enclave *enclave_hold(u64 address)
{
	struct enclave *e = enclave_of(address);

	if (!e)
		return 0;
	__atomic_add_fetch(&e->threads, 1, __ATOMIC_SEQ_CST);
	if (address - e->base < __atomic_load_n(&e->size, __ATOMIC_SEQ_CST))
		return e;
	enclave_let_go(e);
	return 0;
}

void enclave_let_go(struct enclave *e)
{
	if (e && !__atomic_sub_fetch(&e->threads, 1, __ATOMIC_SEQ_CST))
		curtain_leave(e);
}

u16 epcm_word(const struct enclave *e, u64 address)
{
	const u16 *words = (const u16 *)(e->alias + e->size);

	return __atomic_load_n(&words[(address - e->base) >> 12], __ATOMIC_RELAXED);
}

/* Its supervisor was killed: as after a loss of power, nothing of it is left. */
int enclave_lost(const struct enclave *e)
{
	u64 size = e ? __atomic_load_n(&e->size, __ATOMIC_SEQ_CST) : 0;

	return size && __atomic_load_n((const u16 *)(e->alias + size), __ATOMIC_RELAXED) ==
			       WORD_LOST;
}

void thread_inside(struct thread *th, struct enclave *e)
{
	th->encl = e;
	forbid_rdtsc(th);
	th->inside = 1;
	if (!e)
		return;
	tally(e, th->tcs)->tid = th->tid;
	__atomic_add_fetch(&e->threads, 1, __ATOMIC_SEQ_CST);
	curtain_open(e);
}

void thread_outside(struct thread *th)
{
	th->inside = 0;
	enclave_let_go(th->encl);
	th->encl = 0;
}

void enclaves_changed(void)
{
	__atomic_add_fetch(&A.generation, 1, __ATOMIC_RELEASE);
}

static void widen_hull(u64 start, u64 end)
{
	if (!A.hull_end || start < A.hull_start)
		A.hull_start = start;
	if (end > A.hull_end)
		A.hull_end = end;
}

/* A thread may be inside an enclave that is not mapped any more: its exit needs the
 * second mapping, so that goes later. */
static void drop_alias(struct enclave *e)
{
	if (!e->alias || __atomic_load_n(&e->threads, __ATOMIC_SEQ_CST))
		return;
	sys(NR_munmap, e->alias, e->alias_length);
	e->alias = 0;
}

static struct enclave *free_slot(void)
{
	for (u64 i = 0; i < ARRAY_SIZE(A.enclaves); i++) {
		struct enclave *e = &A.enclaves[i];

		if (e->size)
			continue;
		drop_alias(e);
		if (!e->alias)
			return e;
	}
	return 0;
}

/* The second mapping; 0.  The descriptor may have become another file's meanwhile: one
 * that is too short, as enclave memory can never become, is not ours. */
static u8 *map_alias(u64 length, int fd)
{
	long alias = sys(NR_mmap, 0, length, PROT_READ_ | PROT_WRITE_,
			 MAP_SHARED_ | MAP_NORESERVE_, fd, 0);
	u64 end;

	if (alias < 0 && alias > -4096)
		return 0;
	if (!agent_copy(&end, (u8 *)alias + length - sizeof(end), sizeof(end)))
		return (u8 *)alias;
	sys(NR_munmap, alias, length);
	return 0;
}

static void drop_enclave(struct enclave *e)
{
	if (!e)
		return;
	curtain_drop(e);
	__atomic_store_n(&e->size, 0, __ATOMIC_SEQ_CST);
	drop_alias(e);
}

/* Another one may be where a lost one was, or need its slot. */
static void drop_lost(void)
{
	for (u64 i = 0; i < ARRAY_SIZE(A.enclaves); i++)
		if (enclave_lost(&A.enclaves[i]))
			drop_enclave(&A.enclaves[i]);
}

/* Without a slot or a mapping the enclave is entered by the model only. */
static void add_enclave(const struct abi_op *op, const struct abi_context *ctx)
{
	u64 size = op->end - op->start;
	u64 tallies = PAGES(size + (size >> 12) * 2);
	u64 length = PAGES(tallies + (size >> 12) * sizeof(struct abi_tally));
	struct enclave *e;
	u8 *alias;

	drop_lost();
	e = enclave_of(op->start);
	if (!e) {
		e = free_slot();
		if (!e)
			return;
		alias = map_alias(length, (int)op->fd);
		if (!alias)
			return;
		sys(NR_madvise, alias, length, MADV_DONTDUMP_);
		e->is_private = op->flags & OPFLAG_PRIVATE;
		if (e->is_private)
			sys(NR_madvise, alias, length, MADV_DONTFORK_);
		e->alias = alias;
		e->alias_length = length;
		e->tallies = (struct abi_tally *)(alias + tallies);
		e->base = op->start;
		curtain_init(e);
	}
	e->attributes = ctx->attributes;
	e->xfrm = ctx->xfrm;
	e->ssaframesize = ctx->ssaframesize;
	e->miscselect = ctx->miscselect;
	__atomic_store_n(&e->size, size, __ATOMIC_SEQ_CST);
}

static long carry_out_one(const struct abi_op *op, const struct abi_context *ctx)
{
	switch (op->kind) {
	case OPKIND_PROTECT:
		return curtain_protect(op);
	case OPKIND_MAP:
		widen_hull(op->start, op->end);
		if (op->flags & OPFLAG_OUTSIDE)
			buffers_watch(op->start, op->end);
		return curtain_map(op);
	case OPKIND_ENCLAVE:
		lock_enclaves();
		add_enclave(op, ctx);
		unlock_enclaves();
		buffers_watch(op->start, op->end);
		enclaves_changed();
		break;
	case OPKIND_UNALIAS:
		lock_enclaves();
		drop_enclave(enclave_of(op->start));
		unlock_enclaves();
		enclaves_changed();
		break;
	}
	return 0;
}

/* What the kernel says of the first change that it does not make; 0. */
static long carry_out_all(struct answer *ans)
{
	long ret, first = 0;

	for (;;) {
		order_keep(ans);
		for (u32 i = 0; i < ans->ctx.nops && i < MAX_OPS; i++) {
			ans->ops[i].fd = (u32)ans->memory;
			ret = carry_out_one(&ans->ops[i], &ans->ctx);
			if (!first)
				first = ret;
		}
		if (!ans->ctx.more)
			return first;
		ans->ctx.nops = ans->ctx.more = 0;
		if (call_supervisor(CALL_MOREOPS, (u64)ans, 0, 0, 0, 0) < 0)
			return first;
	}
}

long carry_out(struct answer *ans)
{
	long ret;

	if (!ans->ctx.nops && !ans->ctx.more)
		return 0;
	take_turn(&changes, (u32)sys(NR_gettid, 0));
	ret = carry_out_all(ans);
	__atomic_store_n(&changes, 0, __ATOMIC_RELEASE);
	return ret;
}

/* For a fault that comes again if this fails.  Once is no harm: another thread may have
 * unmapped the place. */
void carry_out_fault(struct answer *ans)
{
	static u32 failures;

	if (!carry_out(ans))
		failures = 0;
	else if (++failures > MAX_FAILURES)
		fatal("softsgx: too many mappings: raise vm.max_map_count\n");
}
