/* SPDX-License-Identifier: Apache-2.0
 *
 * The enclaves of a process, and what host code sees of them while nobody is inside.
 */
#pragma once

struct enclave;
struct frame;

/* Addresses that an enclave's mappings cover, and what they natively allow its code. */
struct run {
	u64 start, end;
	u32 prot;
	u32 open;	/* since the curtain is */
};

enum curtain_state {
	CURTAIN_NONE,	/* what is mapped stays as it is */
	CURTAIN_OPEN,	/* of many runs, those that were touched */
	CURTAIN_CLOSED,	/* nothing of the runs can be accessed natively */
};

/* What hiding it costs, in ticks of the clock: see price.c. */
struct price {
	s64 looked;		/* at the clock, when a thread left last */
	s64 credit;		/* may be spent */
	s64 last;		/* what it was to open it and to close it */
	s64 begun;		/* what goes on now */
	s64 faults;		/* of the process, when it was opened */
	s64 present, let_go;	/* of them, those whose pages are there; that will come again */
};

/* What is behind. */
struct curtain {
	struct run *runs;	/* lowest first */
	u32 nr_runs, state;
	u32 waits;	/* for runs to be touched: it has many */
	struct price price;
};

/* ---- runs.c; whoever calls has the lock of the enclaves ---- */
HIDDEN int runs_init(struct curtain *c);
HIDDEN void runs_drop(struct curtain *c);
HIDDEN struct run *runs_at(const struct curtain *c, u64 address);
/* 0: there is no room for one more. */
HIDDEN int runs_cut(struct curtain *c, u64 start, u64 end);
HIDDEN int runs_set(struct curtain *c, u64 start, u64 end, u64 prot);
HIDDEN u64 runs_allowed(const struct curtain *c);

/* ---- price.c; the same, but for price_is_right ---- */
#define CLOCK_MONOTONIC_ 1
HIDDEN u64 clock_ns(u32 which);
HIDDEN u64 agent_tsc(void); /* entry.S; -EFAULT if the thread may not */
HIDDEN void price_init(struct price *p);
HIDDEN void price_of_look(struct price *p);
HIDDEN void price_begin(struct price *p);
HIDDEN void price_end(struct price *p);
HIDDEN void price_opened(struct price *p, u64 allowed);
HIDDEN int price_closing(struct price *p, u64 allowed);
HIDDEN int price_is_right(struct price *p);

/* ---- curtain.c ---- */
HIDDEN void curtain_init(struct enclave *e);
HIDDEN void curtain_drop(struct enclave *e);
HIDDEN void curtain_open(struct enclave *e);
HIDDEN void curtain_leave(struct enclave *e);
HIDDEN void curtain_reach(struct enclave *e, u64 start, u64 length);
HIDDEN int curtain_met_inside(u64 address, u64 error);
HIDDEN int curtain_touched(u64 address, u64 error);
HIDDEN const struct run *curtain_met_outside(u64 address, u64 needed);
HIDDEN int curtain_is_closed(u64 address);
HIDDEN u64 curtain_rights(u64 address);
HIDDEN void curtain_forked(int torn);
/* Around a change of mappings that is not the supervisor's. */
HIDDEN void curtain_change_begin(u64 start, u64 length);
HIDDEN void curtain_change_end(u64 start, u64 length, int gone);
HIDDEN long curtain_protect(const struct abi_op *op);
HIDDEN long curtain_map(const struct abi_op *op);

/* ---- abort.c ---- */
#define MAX_FAILURES 1000 /* in a row, to map something */
HIDDEN int abort_step_ended(struct frame *f);
HIDDEN void abort_withdraw(u64 start, u64 end);
HIDDEN void abort_prepare(void);
HIDDEN void abort_forked(int torn);
HIDDEN int abort_show(u64 at, u64 length);
HIDDEN void abort_step(struct frame *f, u64 at);
HIDDEN const u32 *abort_stepper(void);

/* ---- buffers.c ---- */
HIDDEN void buffers_watch(u64 start, u64 end);
HIDDEN int do_buffer(struct frame *f);

/* ---- ops.c ---- */
HIDDEN void take_turn(u32 *turn, u32 tid);
HIDDEN void lock_enclaves(void);
HIDDEN void unlock_enclaves(void);
HIDDEN u16 epcm_word(const struct enclave *e, u64 address);
HIDDEN int enclave_lost(const struct enclave *e);
HIDDEN struct enclave *enclave_of(u64 address);
HIDDEN struct enclave *enclave_hold(u64 address);
HIDDEN void enclave_let_go(struct enclave *e);
HIDDEN void enclaves_changed(void);
HIDDEN long call_plainly(u64 call, u64 a, u64 b);

/* ---- pages.c ---- */

HIDDEN void pages_offer(void);
HIDDEN void pages_forked(void);
HIDDEN int pages_wait(const struct frame *f);
HIDDEN void pages_moved(u64 start, u64 length);
