/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls to the supervisor, and the operations on the address space that it answers
 * with: only a process can change its own mappings.
 */
#include "agent.h"

#define FORK_PAGE ((volatile u32 *)(AGENT_BASE + FORK_OFFSET))

/* The page at FORK_PAGE reads zero in a child of fork: it has an address space of its
 * own, and the supervisor learns whose copy it is before it hears anything else. */
static void after_fork(void)
{
	u32 parent = A.pid;

	A.pid = (u32)sys(NR_getpid, 0);
	*FORK_PAGE = A.pid;
	if (!parent)
		return;
	signals_forked();
	threads_forked();
	if (!A.parent)
		A.parent = parent;
}

/* A child of vfork shares our memory but not our kernel state: what it sets must not
 * be recorded. */
int borrowed_memory(void)
{
	if (*FORK_PAGE == 0)
		after_fork();
	return *FORK_PAGE != (u32)sys(NR_getpid, 0);
}

/* A supervisor that is gone lets its system call fall through to the kernel. */
long call_supervisor(u64 call, u64 a, u64 b, u64 c, u64 d, u64 e)
{
	long ret;

	if (*FORK_PAGE == 0)
		after_fork();
	if (A.parent) {
		u32 parent = A.parent;

		A.parent = 0;
		sys(CALL_NR, CALL_FORKED, parent);
	}
	/* A fault signal that somebody sends can come while we wait: the call was not
	 * taken then. */
	do {
		ret = sys(CALL_NR, call, a, b, c, d, e);
	} while (ret == -EINTR_);
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

u16 epcm_word(const struct enclave *e, u64 address)
{
	const u16 *words = (const u16 *)(e->alias + e->size);

	return __atomic_load_n(&words[(address - e->base) >> 12], __ATOMIC_RELAXED);
}

void thread_inside(struct thread *th, struct enclave *e)
{
	th->encl = e;
	th->inside = 1;
	if (e)
		__atomic_add_fetch(&e->threads, 1, __ATOMIC_ACQ_REL);
}

void thread_outside(struct thread *th)
{
	th->inside = 0;
	if (th->encl)
		__atomic_sub_fetch(&th->encl->threads, 1, __ATOMIC_ACQ_REL);
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

static void add_enclave(const struct abi_op *op, const struct abi_context *ctx)
{
	u64 size = op->end - op->start;
	u64 length = size + (size >> 12) * 2;
	struct enclave *e = enclave_of(op->start);
	long alias;

	if (!e) {
		for (u64 i = 0; i < ARRAY_SIZE(A.enclaves) && !e; i++)
			if (!A.enclaves[i].size)
				e = &A.enclaves[i];
		if (!e)
			return; /* Entered by the model only. */
		alias = sys(NR_mmap, 0, (length + 4095) & ~4095ul,
			    PROT_READ_ | PROT_WRITE_, MAP_SHARED_ | MAP_NORESERVE_,
			    op->fd, 0);
		if (alias < 0 && alias > -4096)
			return;
		e->alias = (u8 *)alias;
		e->base = op->start;
	}
	e->attributes = ctx->attributes;
	e->xfrm = ctx->xfrm;
	e->ssaframesize = ctx->ssaframesize;
	e->miscselect = ctx->miscselect;
	e->size = size;
}

static void drop_enclave(const struct abi_op *op)
{
	struct enclave *e = enclave_of(op->start);
	u64 size;

	/* A thread inside still needs it; it goes with the process then. */
	if (!e || __atomic_load_n(&e->threads, __ATOMIC_ACQUIRE))
		return;
	size = e->size;
	e->size = 0;
	sys(NR_munmap, e->alias, (size + (size >> 12) * 2 + 4095) & ~4095ul);
}

static long carry_out_one(const struct abi_op *op, const struct abi_context *ctx)
{
	switch (op->kind) {
	case OPKIND_PROTECT:
		return sys(NR_mprotect, op->start, op->end - op->start, op->prot);
	case OPKIND_MAP:
		widen_hull(op->start, op->end);
		sys(NR_mmap, op->start, op->end - op->start, op->prot,
		    MAP_SHARED_ | MAP_FIXED_ | MAP_NORESERVE_, op->fd, op->offset);
		break;
	case OPKIND_ENCLAVE:
		add_enclave(op, ctx);
		enclaves_changed();
		break;
	case OPKIND_UNALIAS:
		drop_enclave(op);
		enclaves_changed();
		break;
	}
	return 0;
}

/* What the kernel says of the first protection that it does not change; 0. */
long carry_out(struct answer *ans)
{
	long ret, first = 0;

	for (;;) {
		for (u32 i = 0; i < ans->ctx.nops && i < MAX_OPS; i++) {
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
