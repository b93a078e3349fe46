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

/* ---- what is mapped ---- */

static void open_runs(const struct curtain *c)
{
	for (u32 i = 0; i < c->nr_runs; i++) {
		const struct run *run = &c->runs[i];

		if (run->prot)
			sys(NR_mprotect, run->start, run->end - run->start, run->prot);
	}
}

/* Where nothing lies between them, all at once. */
static void close_runs(struct enclave *e)
{
	struct curtain *c = &e->curtain;
	const struct run *runs = c->runs;
	int lets_go = price_closing(&c->price, runs_allowed(c));

	abort_withdraw(e->base, e->base + e->size);
	for (u32 i = 0, next; i < c->nr_runs; i = next) {
		u64 start = runs[i].start;

		for (next = i + 1; next < c->nr_runs; next++)
			if (runs[next].start != runs[next - 1].end)
				break;
		if (lets_go)
			sys(NR_madvise, start, runs[next - 1].end - start, MADV_DONTNEED_);
		sys(NR_mprotect, start, runs[next - 1].end - start, PROT_NONE_);
	}
	price_closed(&c->price);
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
	if (is_state(c, CURTAIN_CLOSED))
		open_runs(c);
	set_state(c, CURTAIN_NONE);
	runs_drop(c);
}

/* ---- threads come and go ---- */

static void lift(struct enclave *e)
{
	struct curtain *c = &e->curtain;

	price_opening(&c->price);
	abort_withdraw(e->base, e->base + e->size);
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

/* A thread is inside no more, and not counted. */
void curtain_leave(struct enclave *e)
{
	struct curtain *c = &e->curtain;

	if (!is_state(c, CURTAIN_OPEN) || __atomic_load_n(&e->threads, __ATOMIC_SEQ_CST) ||
	    !price_is_right(&c->price))
		return;
	lock_enclaves();
	if (is_state(c, CURTAIN_OPEN)) {
		set_state(c, CURTAIN_CLOSED);
		if (__atomic_load_n(&e->threads, __ATOMIC_SEQ_CST))
			set_state(c, CURTAIN_OPEN);
		else
			close_runs(e);
	}
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

/* Enclave code met the curtain of another enclave: 1, it is open now. */
int curtain_met_inside(u64 address, u64 error)
{
	int hides;

	lock_enclaves();
	hides = hidden(address, needed_by(error)) != 0;
	if (hides)
		lift(enclave_of(address));
	unlock_enclaves();
	return hides;
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
