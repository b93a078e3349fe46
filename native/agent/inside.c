/* SPDX-License-Identifier: Apache-2.0
 *
 * Signals that find the thread inside an enclave: traps of ENCLU, faults, and
 * interrupts.  Each but a resolved fault is an exit.
 */
#include "agent.h"
#include "code.h"

#define VECTOR_DB 1
#define VECTOR_BP 3
#define FEW_TRIES 8
#define VECTOR_OF 4
#define VECTOR_UD 6
#define VECTOR_TS 10
#define VECTOR_AC 17

static void inside_enclu(struct frame *f, int trapped)
{
	u32 leaf;

	if (trapped)
		site_patch(f->uc->mc.rip, SITE_ENCLU);
	leaf = (u32)f->uc->mc.rax;
	if (leaf == ENCLU_EEXIT && eexit_native(f))
		return;
	if (leaf == ENCLU_EDECCSSA && edeccssa_native(f))
		return;
	ask_enclu(f);
	if (leaf == ENCLU_EDECCSSA && f->th->inside)
		edeccssa_known();
}

/* The instruction at RIP is none of an enclave's: #UD, whatever it raised. */
void undefined(struct frame *f)
{
	raise_plain(f, VECTOR_UD, SIGILL, ILL_ILLOPN_);
}

static void page_fault(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct answer ans;
	long ret;

	if (curtain_met_inside(mc->cr2, mc->err))
		return;
	context_fill(f, &ans.ctx);
	ans.ctx.vector = 14;
	ans.ctx.error = (u32)mc->err;
	ans.ctx.address = mc->cr2;
	ans.ctx.signo = (u32)f->sig;
	ans.ctx.sicode = (u32)f->info->code;
	ret = call_supervisor(CALL_FAULT, (u64)&ans, 0, 0, 0, 0);
	if (ret < 0)
		refused(ret, "softsgx: internal error: the supervisor refused a page "
			     "fault\n");
	carry_out_fault(&ans);
	if (ans.ctx.outcome == OUTCOME_WAIT)
		wait_outside(f);
	else if (ans.ctx.outcome != OUTCOME_RETRY)
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
	if (mc->trapno == VECTOR_DB && ctx.sicode == TRAP_TRACE_ && !f->th->opted_in) {
		mc->rflags &= ~RFLAGS_TF; /* POPF cannot set it after an opt-out entry. */
		return;
	}
	if (mc->trapno == VECTOR_BP && f->sig == SIGTRAP) {
		mc->rip--; /* Inside an enclave INT3 is a fault; unasked for, #UD. */
		if (!f->th->opted_in) {
			undefined(f);
			return;
		}
	}
	if (ctx.vector == VECTOR_MF || ctx.vector == VECTOR_XM)
		ctx.sicode = FPE_FLTINV_; /* Linux looks at what the exit left. */
	raise_fault(f, &ctx);
}

/* A system call, or INT 3 or 4 spelled with two bytes: RIP is behind it. */
static int software_interrupt(const struct frame *f)
{
	const struct k_sigcontext *mc = &f->uc->mc;
	u8 code[2];

	if (f->sig == SIGSYS)
		return 1;
	return (mc->trapno == VECTOR_BP || mc->trapno == VECTOR_OF) &&
	       !code_copy(code, mc->rip - 2, 2) && code[0] == 0xcd &&
	       code[1] == mc->trapno;
}

/* Raised before the instruction at RIP did anything. */
static int before_instruction(u64 vector)
{
	return vector >= VECTOR_TS && vector <= VECTOR_AC;
}

/* The program took the code away before we looked.  Once more, and it is a page fault; but
 * behind a trap nobody can say where its instruction began. */
static int code_was_gone(const struct frame *f)
{
	const struct k_sigcontext *mc = &f->uc->mc;

	return mc->trapno != VECTOR_DB && mc->trapno != VECTOR_BP &&
	       f->th->unread == mc->rip;
}

/* A breakpoint may stand for an instruction that is forbidden, or for nothing any
 * more. */
static int our_breakpoint(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct k_timespec nap = {0, 200000};
	u64 at = mc->rip - 1;
	long what;

	for (int tries = 0; ; tries++) {
		what = call_supervisor(CALL_TRAP, at, 0, 0, 0, 0);
		if (what != TRAP_WAIT)
			break;
		if (tries < FEW_TRIES)
			sys(NR_sched_yield, 0);
		else
			sys(NR_nanosleep, &nap, 0);
	}
	if (what != TRAP_FORBIDDEN && what != TRAP_AGAIN)
		return 0;
	mc->rip = at;
	if (what == TRAP_FORBIDDEN) {
		f->th->lifted = at;
		undefined(f);
	}
	return 1;
}

/* It may be ENCLU's, or that of the HLT in its place: which of them stands there by now
 * does not matter. */
static int by_enclu(const struct frame *f)
{
	return f->sig == SIGILL || (f->sig == SIGSEGV && f->info->code == SI_KERNEL);
}

void inside_signal(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	int sync = f->info->code > 0 && (SIGBIT(f->sig) & FAULT_SIGNALS);

	f->th->unread = 0;
	if (sync && enclave_lost(f->th->encl)) {
		enclave_exit(f, NO_VECTOR, 0, 0); /* ERESUME finds nothing */
	} else if (!sync) {
		enclave_exit(f, NO_VECTOR, 0, 0);
		deliver(f);
	} else if (by_enclu(f) && at_enclu(mc->rip)) {
		inside_enclu(f, f->sig == SIGILL);
	} else if (state_site(f)) {
		return;
	} else if (software_interrupt(f)) {
		mc->rip -= 2;
		undefined(f);
	} else if (f->sig == SIGTRAP && mc->trapno == VECTOR_BP && our_breakpoint(f)) {
		return;
	} else if (before_instruction(mc->trapno) && at_forbidden(mc->rip)) {
		undefined(f);
	} else if (mc->trapno == 14 && (f->sig == SIGSEGV || f->sig == SIGBUS)) {
		page_fault(f);
	} else if (!code_was_gone(f)) {
		exception(f);
	}
}
