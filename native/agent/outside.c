/* SPDX-License-Identifier: Apache-2.0
 *
 * Page faults of host code in an enclave's mapping: what the driver resolves is tried
 * again, what it refuses is a signal, and the rest is the abort page.
 *
 * Host code that touches a page which belongs to an enclave gets no signal: it reads
 * ones, and what it writes is lost.  Here the one instruction is let run, by a single
 * step, on a page of ones in that place.
 */
#include "agent.h"

#define PAGE 4096ul
#define MAX_PAGES 4 /* that one instruction can touch, when it moves a string */
#define MREMAP_TO 3 /* MREMAP_MAYMOVE | MREMAP_FIXED */

/* The step that goes on, one at a time in a process: a second thread waits. */
static struct {
	u32 tid, pages;
	u64 at[MAX_PAGES], kept[MAX_PAGES]; /* the page, and where its mapping is kept */
	u64 mask, flags;
} step;

/* The thread whose step goes on. */
const u32 *abort_stepper(void)
{
	return &step.tid;
}

static u64 anonymous(u64 at, u64 flags)
{
	long got = sys(NR_mmap, at, PAGE, PROT_READ_ | PROT_WRITE_,
		       MAP_PRIVATE_ | MAP_ANONYMOUS_ | flags, -1ul, 0);

	return got < 0 && got > -4096 ? 0 : (u64)got;
}

static int put_page_of_ones(u64 at)
{
	u64 kept = anonymous(0, 0);

	if (!kept || sys(NR_mremap, at, PAGE, PAGE, MREMAP_TO, kept) < 0)
		return 0;
	if (!anonymous(at, MAP_FIXED_))
		return 0;
	memset((void *)at, 0xff, PAGE);
	step.at[step.pages] = at;
	step.kept[step.pages] = kept;
	step.pages++;
	return 1;
}

static void begin_step(struct frame *f, u64 at)
{
	u32 tid = (u32)sys(NR_gettid, 0), nobody = 0;

	if (step.tid != tid) {
		while (!__atomic_compare_exchange_n(&step.tid, &nobody, tid, 0,
						    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
			nobody = 0;
			sys(NR_sched_yield, 0);
		}
		step.pages = 0;
		step.mask = f->uc->sigmask;
		step.flags = f->uc->mc.rflags;
	}
	if (step.pages == MAX_PAGES || !put_page_of_ones(at))
		fatal("softsgx: no mapping left for an abort page\n");
	f->uc->mc.rflags |= RFLAGS_TF;
	f->uc->sigmask = masks_real(~0ul);
}

/* Any signal but a further fault of the same instruction ends the step: 1 if it was
 * only the step's own trap. */
int abort_step_ended(struct frame *f)
{
	if (!step.tid || step.tid != (u32)sys(NR_gettid, 0))
		return 0;
	if (f->info->code > 0 && f->uc->mc.trapno == 14 && overlaps_hull(f->uc->mc.cr2, 1))
		return 0;
	while (step.pages--)
		sys(NR_mremap, step.kept[step.pages], PAGE, PAGE, MREMAP_TO,
		    step.at[step.pages]);
	f->uc->sigmask = step.mask;
	f->uc->mc.rflags = (f->uc->mc.rflags & ~RFLAGS_TF) | (step.flags & RFLAGS_TF);
	__atomic_store_n(&step.tid, 0, __ATOMIC_RELEASE);
	return f->sig == SIGTRAP && f->info->code == TRAP_TRACE_ &&
	       !(step.flags & RFLAGS_TF);
}

int outside_fault(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct answer ans;

	if (f->info->code <= 0 || (f->sig != SIGSEGV && f->sig != SIGBUS) ||
	    mc->trapno != 14 || !overlaps_hull(mc->cr2, 1))
		return 0;
	context_fill(f, &ans.ctx);
	ans.ctx.vector = 14;
	ans.ctx.error = (u32)mc->err;
	ans.ctx.address = mc->cr2;
	ans.ctx.signo = (u32)f->sig;
	ans.ctx.sicode = (u32)f->info->code;
	if (call_supervisor(CALL_FAULT, (u64)&ans, 0, 0, 0, 0) < 0)
		return 0;
	carry_out_fault(&ans);
	if (ans.ctx.outcome == OUTCOME_FAULT)
		raise_fault(f, &ans.ctx);
	else if (ans.ctx.outcome == OUTCOME_ABORT)
		begin_step(f, mc->cr2 & ~(PAGE - 1));
	return 1;
}
