/* SPDX-License-Identifier: Apache-2.0
 *
 * The curtain: while no thread of this process is inside an enclave, its mappings can
 * natively not be accessed at all, so that host code which looks at them meets a page
 * fault, and then the abort page (outside.c).  The first thread that enters puts back
 * what the driver allows the enclave's code.
 *
 * The agent itself works on the second mapping, the supervisor on its own.
 */
#include "agent.h"

#define PF_WRITE 2
#define PF_FETCH 0x10
#define FEW_RUNS 32 /* are opened at once: a fault for each costs more */

/* ---- what is mapped ---- */

static void open_run(struct run *run)
{
	if (run->prot && !run->open)
		sys(NR_mprotect, run->start, run->end - run->start, run->prot);
	run->open = 1;
}

static void open_runs(const struct curtain *c)
{
	for (u32 i = 0; i < c->nr_runs; i++)
		open_run(&c->runs[i]);
}

/* Where nothing lies between them, all at once. */
static void close_runs(struct enclave *e)
{
	struct curtain *c = &e->curtain;
	struct run *runs = c->runs;
	int lets_go = price_closing(&c->price, runs_allowed(c));

	price_begin(&c->price);
	abort_withdraw(e->base, e->base + e->size);
	for (u32 i = 0, next; i < c->nr_runs; i = next) {
		u64 start = runs[i].start;

		runs[i].open = 0;
		for (next = i + 1; next < c->nr_runs; next++) {
			if (runs[next].start != runs[next - 1].end)
				break;
			runs[next].open = 0;
		}
		if (lets_go)
			sys(NR_madvise, start, runs[next - 1].end - start, MADV_DONTNEED_);
		sys(NR_mprotect, start, runs[next - 1].end - start, PROT_NONE_);
	}
	price_end(&c->price);
}

static void set_state(struct curtain *c, enum curtain_state state)
{
	__atomic_store_n(&c->state, state, __ATOMIC_SEQ_CST);
}

static int is_state(const struct curtain *c, enum curtain_state state)
{
	return __atomic_load_n(&c->state, __ATOMIC_SEQ_CST) == (u32)state;
}

void curtain_init(struct enclave *e)
{
	struct curtain *c = &e->curtain;

	price_init(&c->price);
	set_state(c, runs_init(c) ? CURTAIN_CLOSED : CURTAIN_NONE);
}

void curtain_drop(struct enclave *e)
{
	set_state(&e->curtain, CURTAIN_NONE);
	runs_drop(&e->curtain);
}

/* More runs than can be kept: from now on it stays open. */
static void give_up(struct curtain *c)
{
	open_runs(c);
	set_state(c, CURTAIN_NONE);
	runs_drop(c);
}

/* ---- threads come and go ---- */

static void lift(struct enclave *e)
{
	struct curtain *c = &e->curtain;

	price_begin(&c->price);
	abort_withdraw(e->base, e->base + e->size);
	c->waits = c->nr_runs > FEW_RUNS;
	if (!c->waits)
		open_runs(c);
	set_state(c, CURTAIN_OPEN);
	price_opened(&c->price, runs_allowed(c));
}

/* A thread is about to be inside, and counted.  Either who is closing sees it, or it sees
 * that it is closed. */
void curtain_open(struct enclave *e)
{
	struct curtain *c = &e->curtain;

	if (!is_state(c, CURTAIN_CLOSED))
		return;
	lock_enclaves();
	if (is_state(c, CURTAIN_CLOSED))
		lift(e);
	unlock_enclaves();
}

/* A run that waited to be touched. */
static void open_touched(struct curtain *c, struct run *run)
{
	price_begin(&c->price);
	abort_withdraw(run->start, run->end);
	open_run(run);
	price_end(&c->price);
}

/* The agent is about to copy from or to a range; the curtain stays open. */
void curtain_reach(struct enclave *e, u64 start, u64 length)
{
	struct curtain *c = &e->curtain;
	struct run *run;

	if (!c->waits)
		return;
	lock_enclaves();
	for (u64 at = start; at < start + length; at = run ? run->end : start + length) {
		run = is_state(c, CURTAIN_OPEN) ? runs_at(c, at) : 0;
		if (run && !run->open)
			open_touched(c, run);
	}
	unlock_enclaves();
}

/* Nobody is inside: all is closed, unless somebody comes just now. */
static void fall(struct enclave *e)
{
	struct curtain *c = &e->curtain;

	set_state(c, CURTAIN_CLOSED);
	if (__atomic_load_n(&e->threads, __ATOMIC_SEQ_CST))
		set_state(c, CURTAIN_OPEN);
	else
		close_runs(e);
}

/* A thread is inside no more, and not counted. */
void curtain_leave(struct enclave *e)
{
	struct curtain *c = &e->curtain;

	if (!is_state(c, CURTAIN_OPEN) || __atomic_load_n(&e->threads, __ATOMIC_SEQ_CST) ||
	    !price_is_right(&c->price))
		return;
	lock_enclaves();
	if (is_state(c, CURTAIN_OPEN))
		fall(e);
	unlock_enclaves();
}

/* A thread is changing what is mapped, and then the runs. */
static u32 changing;

static void set_changing(u32 to)
{
	__atomic_store_n(&changing, to, __ATOMIC_SEQ_CST);
}

/* The child is inside no enclave.  Torn: another thread had the lock.  Which runs are
 * right is not known if it was changing them. */
void curtain_forked(int torn)
{
	for (u64 i = 0; i < ARRAY_SIZE(A.enclaves); i++) {
		struct curtain *c = &A.enclaves[i].curtain;

		if (torn && changing)
			set_state(c, CURTAIN_NONE);
		if (is_state(c, CURTAIN_NONE) || (!torn && is_state(c, CURTAIN_CLOSED)))
			continue;
		close_runs(&A.enclaves[i]);
		set_state(c, CURTAIN_CLOSED);
	}
	set_changing(0);
}

/* ---- faults; whoever calls the first has the lock of the enclaves ---- */

/* The run whose rights a closed curtain takes away; NULL. */
static const struct run *hidden(u64 address, u64 needed)
{
	const struct enclave *e = enclave_of(address);
	const struct run *run;

	if (!e || !is_state(&e->curtain, CURTAIN_CLOSED))
		return 0;
	run = runs_at(&e->curtain, address);
	return run && (run->prot & needed) == needed ? run : 0;
}

/* The run whose rights a closed curtain keeps from host code; NULL. */
const struct run *curtain_met_outside(u64 address, u64 needed)
{
	const struct run *run = hidden(address, needed);

	if (run)
		price_of_look(&enclave_of(address)->curtain.price);
	return run;
}

int curtain_is_closed(u64 address)
{
	const struct enclave *e = enclave_of(address);

	return e && is_state(&e->curtain, CURTAIN_CLOSED);
}

/* What an open curtain lets be done there; 0, too, where that is not known. */
u64 curtain_rights(u64 address)
{
	const struct enclave *e = enclave_of(address);
	const struct run *run;

	if (!e || !is_state(&e->curtain, CURTAIN_OPEN))
		return 0;
	run = runs_at(&e->curtain, address);
	return run ? run->prot : 0;
}

static u64 needed_by(u64 error)
{
	if (error & PF_WRITE)
		return PROT_WRITE_;
	return error & PF_FETCH ? PROT_EXEC_ : PROT_READ_;
}

/* The run that waits to be touched by an access which it allows; NULL. */
static struct run *waiting(const struct enclave *e, u64 address, u64 error)
{
	u64 needed = needed_by(error);
	struct run *run;

	run = e && is_state(&e->curtain, CURTAIN_OPEN) ? runs_at(&e->curtain, address) : 0;
	if (!run || run->open || (run->prot & needed) != needed)
		return 0;
	return run;
}

/* Host code met such a run: 1, it is open now; or closed with all others, if nobody is
 * inside. */
int curtain_touched(u64 address, u64 error)
{
	struct enclave *e = enclave_of(address);
	struct run *run = waiting(e, address, error);

	if (run && __atomic_load_n(&e->threads, __ATOMIC_SEQ_CST))
		open_touched(&e->curtain, run);
	else if (run)
		fall(e);
	return run != 0;
}

/* Enclave code met such a run, or the curtain of another enclave: 1, it is open now. */
int curtain_met_inside(u64 address, u64 error)
{
	struct enclave *e;
	struct run *run;
	int hides;

	lock_enclaves();
	e = enclave_of(address);
	hides = hidden(address, needed_by(error)) != 0;
	if (hides)
		lift(e);
	run = waiting(e, address, error);
	if (run)
		open_touched(&e->curtain, run);
	unlock_enclaves();
	return hides || run;
}

/* ---- changes of mappings ---- */

void curtain_change_begin(u64 start, u64 length)
{
	lock_enclaves();
	set_changing(1);
	abort_withdraw(start, start + length);
}

void curtain_change_end(u64 start, u64 length, int gone)
{
	for (u64 i = 0; gone && i < ARRAY_SIZE(A.enclaves); i++) {
		struct curtain *c = &A.enclaves[i].curtain;

		if (!is_state(c, CURTAIN_NONE) && !runs_cut(c, start, start + length))
			give_up(c);
	}
	set_changing(0);
	unlock_enclaves();
}

static struct curtain *curtain_of(u64 address)
{
	struct enclave *e = enclave_of(address);

	return e && !is_state(&e->curtain, CURTAIN_NONE) ? &e->curtain : 0;
}

/* What is no enclave's mapping has the protection that the program asked. */
long curtain_protect(const struct abi_op *op)
{
	u64 start = op->start, end = (op->end + 4095) & ~4095ul;
	struct curtain *c;
	long ret = 0;

	lock_enclaves();
	set_changing(1);
	abort_withdraw(start, end);
	c = start & 4095 ? 0 : curtain_of(start); /* The kernel refuses it. */
	if (c && !runs_at(c, start))
		c = 0;
	if (c && !runs_set(c, start, end, op->prot)) {
		give_up(c);
		c = 0;
	}
	if (!c || is_state(c, CURTAIN_OPEN))
		ret = sys(NR_mprotect, start, end - start, op->prot);
	set_changing(0);
	unlock_enclaves();
	return ret;
}

/* Linux's mappings of enclaves are not dumped either. */
long curtain_map(const struct abi_op *op)
{
	u64 length = op->end - op->start;
	struct curtain *c;
	long ret;

	lock_enclaves();
	set_changing(1);
	abort_withdraw(op->start, op->end);
	c = curtain_of(op->start);
	ret = sys(NR_mmap, op->start, length,
		  c && is_state(c, CURTAIN_CLOSED) ? PROT_NONE_ : op->prot,
		  MAP_SHARED_ | MAP_FIXED_ | MAP_NORESERVE_, op->fd, op->offset);
	ret = ret < 0 && ret > -4096 ? ret : 0;
	if (ret == 0)
		sys(NR_madvise, op->start, length, MADV_DONTDUMP_);
	if (ret == 0 && (op->flags & OPFLAG_PRIVATE))
		sys(NR_madvise, op->start, length, MADV_DONTFORK_);
	if (ret == 0 && c && !runs_set(c, op->start, op->end, op->prot))
		give_up(c);
	set_changing(0);
	unlock_enclaves();
	return ret;
}
