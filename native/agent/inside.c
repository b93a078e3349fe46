/* SPDX-License-Identifier: Apache-2.0
 *
 * Signals that find the thread inside an enclave: traps of ENCLU, faults, and
 * interrupts.  Each but a resolved fault is an exit.
 */
#include "agent.h"

static void inside_enclu(struct frame *f, int trapped)
{
	if (trapped)
		site_patch(f->uc->mc.rip, SITE_ENCLU);
	if ((u32)f->uc->mc.rax == ENCLU_EEXIT && eexit_native(f))
		return;
	ask_enclu(f);
}

static void page_fault(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct answer ans;

	context_fill(f, &ans.ctx);
	ans.ctx.vector = 14;
	ans.ctx.error = (u32)mc->err;
	ans.ctx.address = mc->cr2;
	ans.ctx.signo = (u32)f->sig;
	ans.ctx.sicode = (u32)f->info->code;
	if (call_supervisor(CALL_FAULT, (u64)&ans, 0, 0, 0, 0) < 0)
		fatal("softsgx: internal error: the supervisor refused a page fault\n");
	carry_out_fault(&ans);
	if (ans.ctx.outcome != OUTCOME_RETRY)
		raise_fault(f, &ans.ctx);
}

static void exception(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct abi_context ctx;

	memset(&ctx, 0, sizeof(ctx));
	ctx.vector = (u32)mc->trapno;
	ctx.error = (u32)mc->err;
	ctx.address = mc->cr2;
	ctx.signo = (u32)f->sig;
	ctx.sicode = (u32)f->info->code;
	if (mc->trapno == 3 && f->sig == SIGTRAP)
		mc->rip--; /* Inside an enclave #BP is a fault. */
	if (f->sig == SIGSYS) { /* A system call that a filter trapped: #UD in here. */
		mc->rip -= 2;
		ctx.vector = 6;
		ctx.error = 0;
		ctx.signo = SIGILL;
		ctx.sicode = ILL_ILLOPN_;
	}
	raise_fault(f, &ctx);
}

void inside_signal(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	int sync = f->info->code > 0 && (SIGBIT(f->sig) & FAULT_SIGNALS);

	if (!sync) {
		enclave_exit(f, NO_VECTOR, 0, 0);
		deliver(f);
	} else if (f->sig == SIGILL && at_enclu(mc->rip)) {
		inside_enclu(f, 1);
	} else if (f->sig == SIGTRAP && site_at(mc->rip - 1) == SITE_ENCLU) {
		mc->rip--;
		inside_enclu(f, 0);
	} else if (mc->trapno == 14 && (f->sig == SIGSEGV || f->sig == SIGBUS)) {
		page_fault(f);
	} else {
		exception(f);
	}
}
