/* SPDX-License-Identifier: Apache-2.0
 *
 * Giving a signal to the program: the frame where its handler must find it, the mask
 * that it must run under, and the way back.
 */
#include "agent.h"

#define HANDLER_FLAGS_CLEAR 0x10500ul	   /* TF, DF, RF */

/* The default action: give the signal back to the kernel with nothing in its way. */
static void die(struct frame *f)
{
	real_action(f->sig, SIG_DFL_, 0, 0);
	f->uc->sigmask &= ~SIGBIT(f->sig);
	requeue(f->info);
}

int on_stack(const struct k_stack *stack, u64 sp)
{
	return !(stack->flags & SS_DISABLE_) && sp > stack->sp &&
	       sp - stack->sp <= stack->size;
}

static u64 fp_size(const u8 *fpstate)
{
	u32 magic, size;

	if (!fpstate)
		return 0;
	memcpy(&magic, fpstate + FP_SW_BYTES, 4);
	memcpy(&size, fpstate + FP_SW_BYTES + 4, 4);
	return magic == FP_XSTATE_MAGIC1 ? size : 512;
}

/* Copy the kernel's frame to where the program's handler must find it. */
static struct k_rt_sigframe *copy_frame(struct frame *f, u64 sp)
{
	struct k_rt_sigframe frame;
	u64 size = fp_size(f->uc->mc.fpstate);
	u64 fp = (sp - size) & ~63ul;
	u64 to = ((fp - sizeof(frame)) & ~15ul) - 8;

	frame.pretcode = 0;
	frame.uc = *f->uc;
	frame.info = *f->info;
	if (size) {
		frame.uc.mc.fpstate = (u8 *)fp;
		if (agent_copy((void *)fp, f->uc->mc.fpstate, size))
			return 0;
	}
	if (agent_copy((void *)to, &frame, sizeof(frame)))
		return 0;
	return (struct k_rt_sigframe *)to;
}

static struct k_rt_sigframe *place_frame(struct frame *f, u64 flags)
{
	struct k_stack alt = f->th ? f->th->altstack : f->uc->stack;
	u64 rsp = f->uc->mc.rsp;
	int nested = on_stack(&alt, rsp);
	int want = nested || ((flags & SA_ONSTACK_) && !(alt.flags & SS_DISABLE_) &&
			      alt.size);
	u64 here = (u64)f->uc;

	if (!f->th && on_stack(&alt, here) == want)
		return (struct k_rt_sigframe *)(here - 8);
	if (want && !nested)
		return copy_frame(f, alt.sp + alt.size);
	return copy_frame(f, rsp - 128);
}

static void enter_handler(struct frame *f, const struct k_sigaction *act, u64 mask)
{
	struct k_rt_sigframe *to = place_frame(f, act->flags);
	struct k_ucontext jump;
	u64 now = mask | act->mask;

	if (!to) {
		f->sig = f->info->signo = SIGSEGV;
		f->info->code = SI_KERNEL;
		f->info->addr = 0;
		die(f);
		return;
	}
	if (!(act->flags & SA_NODEFER_))
		now |= SIGBIT(f->sig);
	now &= ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP));
	memset(&jump, 0, sizeof(jump));
	jump.flags = f->uc->flags & ~1ul; /* no UC_FP_XSTATE: start with clean FP */
	jump.stack = f->uc->stack;
	jump.mc = f->uc->mc;
	jump.mc.fpstate = 0;
	jump.mc.rdi = (u64)f->sig;
	jump.mc.rsi = (u64)&to->info;
	jump.mc.rdx = (u64)&to->uc;
	jump.mc.rax = 0;
	jump.mc.rsp = (u64)to;
	jump.mc.rip = act->handler;
	jump.mc.rflags &= ~HANDLER_FLAGS_CLEAR;
	jump.sigmask = now & ~unblocked;
	to->pretcode = (u64)agent_restorer;
	to->uc.sigmask = mask;
	to->uc.mc.reserved[7] = (u64)f->th;
	if (f->th)
		to->uc.stack = f->th->altstack;
	set_blocked_faults(host_fsbase(f), now);
	agent_sigreturn(&jump);
}

static int raised_by_fault(const struct frame *f)
{
	return (SIGBIT(f->sig) & FAULT_SIGNALS) && f->info->code > 0;
}

/* Do with a signal what Linux would have done for the program. */
void deliver(struct frame *f)
{
	struct k_sigaction act = A.actions[f->sig];
	u64 faults = blocked_faults(f);
	u64 mask = f->uc->sigmask | faults;

	if (faults & SIGBIT(f->sig)) {
		if (raised_by_fault(f))
			die(f);
		else
			hold(f);
		return;
	}
	if (act.handler == SIG_IGN_) {
		if (raised_by_fault(f))
			die(f);
		return;
	}
	if (act.handler == SIG_DFL_) {
		die(f);
		return;
	}
	if (act.flags & SA_RESETHAND_) {
		A.actions[f->sig].handler = SIG_DFL_;
		if (!(SIGBIT(f->sig) & FAULT_SIGNALS))
			real_action(f->sig, SIG_DFL_, 0, 0);
	}
	enter_handler(f, &act, mask);
}

/* The program's handler returned, or made the system call itself. */
void agent_return(struct k_ucontext *uc)
{
	struct thread *th = (struct thread *)uc->mc.reserved[7];

	uc->mc.reserved[7] = 0;
	if (th && thread_known(th)) {
		th->altstack = uc->stack;
		th->altstack.flags &= ~SS_ONSTACK_;
		uc->stack = thread_stack(th);
	}
	set_blocked_faults(rdfsbase(), uc->sigmask);
	uc->sigmask &= ~unblocked;
	agent_sigreturn(uc);
}
