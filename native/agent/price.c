/* SPDX-License-Identifier: Apache-2.0
 *
 * What it costs to hide an enclave and to open it again, and whether that may be paid.
 *
 * The kernel goes through every page that is in the page tables, each time.  So where that
 * may be many, they are let go when the curtain falls: their memory stays, and what is
 * touched again comes back by a fault that the kernel resolves.  A call then pays for
 * the pages that it touches, and not for all that the enclave has.
 *
 * Still, to do it at each last exit would make short calls several times slower.  So in
 * normal mode the curtain falls at an exit that comes a while after the one before, or as
 * long as all this takes less than a fortieth of the time, with a credit for the first
 * calls, and a larger one each time that host code was seen looking; in exact mode always.
 */
#include "agent.h"

#define SHARE 40		/* one part of so many may be spent */
#define CREDIT (1l << 28)	/* ticks: about a tenth of a second */
#define MOST_CREDIT (1l << 30)	/* and what there is after host code looked */
#define TSC_REFUSED ((u64)-EFAULT_)
#define CLOCK_THREAD_CPUTIME_ 3
#define TICKS_A_NS 3		/* about */
#define TICKS_A_FAULT 2800	/* about */
#define FEW 64			/* of them are not worth letting go */

u64 clock_ns(u32 which)
{
	struct k_timespec time;

	sys(NR_clock_gettime, which, &time);
	return (u64)time.seconds * 1000000000 + (u64)time.nanoseconds;
}

static s64 ticks(void)
{
	int refused = (A.config.flags & CONFIGFLAG_NO_RDTSC) != 0;
	u64 now = refused ? TSC_REFUSED : agent_tsc();

	return (s64)(now == TSC_REFUSED ? clock_ns(CLOCK_MONOTONIC_) * TICKS_A_NS : now);
}

/* Of this thread alone: on a busy machine others work meanwhile. */
static s64 worked(void)
{
	return (s64)(clock_ns(CLOCK_THREAD_CPUTIME_) * TICKS_A_NS);
}

/* By which pages came into the page tables of this process so far, enclave's or not. */
static s64 faults(u64 allowed)
{
	struct k_rusage all;

	if (allowed <= FEW)
		return 0;
	sys(NR_getrusage, 0, &all);
	return (s64)all.minor_faults;
}

void price_init(struct price *p)
{
	*p = (struct price){.credit = CREDIT, .looked = ticks()};
}

/* Who looked once is likely to look again: it is to find the curtain closed. */
void price_of_look(struct price *p)
{
	p->credit = MOST_CREDIT;
}

static void pay(struct price *p, s64 amount)
{
	p->credit -= amount;
	p->last += amount;
}

/* Around all that is done. */
void price_begin(struct price *p)
{
	p->begun = worked();
}

void price_end(struct price *p)
{
	pay(p, worked() - p->begun);
}

/* It is open, which allows so many pages. */
void price_opened(struct price *p, u64 allowed)
{
	p->last = 0;
	price_end(p);
	p->faults = faults(allowed);
}

/* It is to be closed.  1: the page tables are to let go of their pages. */
int price_closing(struct price *p, u64 allowed)
{
	s64 came = faults(allowed) - p->faults;

	came = came > 0 ? came : 0; /* a child of fork counts anew */
	pay(p, (came < p->let_go ? came : p->let_go) * TICKS_A_FAULT);
	p->present += came;
	p->let_go = p->present > FEW ? p->present : 0;
	p->present -= p->let_go;
	return p->let_go != 0;
}

/* At a last exit.  One that comes long after the one before is always free. */
int price_is_right(struct price *p)
{
	s64 now, passed;

	if (A.config.flags & CONFIGFLAG_EXACT)
		return 1;
	now = ticks();
	passed = now - p->looked;
	p->looked = now;
	if (passed > 0)
		p->credit += passed / SHARE;
	if (p->credit > MOST_CREDIT)
		p->credit = MOST_CREDIT;
	return p->credit > 0 || passed > SHARE * p->last;
}
