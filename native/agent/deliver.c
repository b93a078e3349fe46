/* SPDX-License-Identifier: Apache-2.0
 *
 * Delivery: the program's handler gets its signal on the stack and with the mask that
 * Linux would have chosen, and returns through the agent.
 */
#include "agent.h"
#include "shortcut.h"

#define HANDLER_FLAGS_CLEAR 0x10500ul /* TF, DF, RF */

/* A signal stack that is not in use counts as none while its owner wants it disarmed. */
static int on_stack(const struct k_stack *stack, u64 sp)
{
	return !(stack->flags & (SS_DISABLE_ | SS_AUTODISARM_)) && sp > stack->sp &&
	       sp - stack->sp <= stack->size;
}

void signal_requeue(const struct k_siginfo *info)
{
	sys(NR_rt_tgsigqueueinfo, sys(NR_getpid, 0), sys(NR_gettid, 0),
	    (u32)info->signo, info);
}

/* The default action: give the signal back to the kernel with nothing in its way. */
static void die(struct frame *f)
{
	action_real(f->sig, SIG_DFL_, 0);
	f->uc->sigmask &= ~SIGBIT(f->sig);
	signal_requeue(f->info);
}

static void die_of_bad_stack(struct frame *f)
{
	f->sig = f->info->signo = SIGSEGV;
	f->info->code = SI_KERNEL;
	f->info->addr = 0;
	die(f);
}

/* ---- the frame ---- */

u64 frame_fp_size(const u8 *fpstate)
{
	u32 magic, size;

	if (!fpstate)
		return 0;
	memcpy(&magic, fpstate + FP_SW_BYTES, 4);
	memcpy(&size, fpstate + FP_SW_BYTES + 4, 4);
	return magic == FP_XSTATE_MAGIC1 ? size : 512;
}

/* Copy the kernel's frame to where the program's handler must find it, above floor. */
static struct k_rt_sigframe *copy_frame(struct frame *f, u64 sp, u64 floor)
{
	struct k_rt_sigframe frame;
	u64 size = frame_fp_size(f->uc->mc.fpstate);
	u64 fp = (sp - size) & ~63ul;
	u64 to = ((fp - sizeof(frame)) & ~15ul) - 8;

	if (to < floor || to > sp)
		return 0;
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

	/* Without a thread block the kernel already chose between the same two. */
	if (!f->th && (here > alt.sp && here - alt.sp <= alt.size) == want)
		return (struct k_rt_sigframe *)(here - 8);
	if (want && !nested)
		return copy_frame(f, alt.sp + alt.size, alt.sp);
	return copy_frame(f, rsp - REDZONE, nested ? alt.sp : 0);
}

/* Where a handler returns to: into the vDSO image, if the program has left it there. */
static u64 restorer(void)
{
	u8 there;

	if (agent_copy(&there, (void *)A.vdso_restorer, sizeof(there)))
		return AGENT_BASE + RESTORER_OFFSET;
	return A.vdso_restorer;
}

/* What the handler will put back when it returns.  The kernel keeps the agent's stack
 * for a thread that has a block, so the program's is kept here; reserved[7] says so. */
static void note_return(struct frame *f, struct k_rt_sigframe *to, u64 mask)
{
	to->pretcode = restorer();
	to->uc.sigmask = to->uc.mc.oldmask = mask;
	to->uc.mc.reserved[7] = (u64)f->th;
	if (!f->th)
		return;
	to->uc.stack = f->th->altstack;
	if (f->th->altstack.flags & SS_AUTODISARM_)
		f->th->altstack = (struct k_stack){.flags = SS_DISABLE_};
}

static void enter_handler(struct frame *f, const struct k_sigaction *act, u64 mask)
{
	struct k_rt_sigframe *to;
	struct k_ucontext jump;
	u64 now = mask | act->mask;

	forged_unmark(f->info);
	to = place_frame(f, act->flags);
	if (!to) {
		die_of_bad_stack(f);
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
	jump.sigmask = masks_real(now);
	shortcut_mask(jump.sigmask);
	note_return(f, to, mask);
	masks_set(now);
	agent_sigreturn(&jump);
}

/* ---- what to do ---- */

static int raised_by_fault(const struct frame *f)
{
	return (SIGBIT(f->sig) & FAULT_SIGNALS) && f->info->code > 0;
}

/* Do with a signal what Linux would have done for the program. */
void deliver(struct frame *f)
{
	u64 hidden = masks_blocked();
	struct k_sigaction act;

	if (hidden & SIGBIT(f->sig)) {
		if (raised_by_fault(f))
			die(f);
		else
			masks_hold(f->info);
		return;
	}
	act = action_take(f->sig);
	if (act.handler == SIG_DFL_ || (act.handler == SIG_IGN_ && raised_by_fault(f)))
		die(f);
	else if (act.handler != SIG_IGN_)
		enter_handler(f, &act, f->uc->sigmask | hidden);
}

static long set_altstack(struct thread *th, const struct k_stack *stack, u64 sp)
{
	u32 mode = (u32)stack->flags & ~SS_AUTODISARM_;
	struct k_stack new = *stack;

	if (on_stack(&th->altstack, sp))
		return -EPERM_;
	if (mode != SS_DISABLE_ && mode != SS_ONSTACK_ && mode != 0)
		return -EINVAL_;
	if (mode == SS_DISABLE_)
		new.sp = new.size = 0;
	else if (new.size < MINSIGSTKSZ_)
		return -ENOMEM_;
	new.flags &= ~SS_ONSTACK_;
	th->altstack = new;
	return 0;
}

/* Frames that the agent did not write, or wrote before the thread had a block, do not
 * tell it. */
static struct thread *thread_of_return(u64 noted)
{
	struct thread *th = (struct thread *)noted;
	u32 tid;

	if (A.config.tier < 2)
		return 0;
	tid = (u32)sys(NR_gettid, 0);
	return thread_is(th, tid) ? th : thread_of(tid);
}

/* The program's handler returned, or made the system call itself.  As in Linux, a signal
 * stack that cannot be set is not. */
void agent_return(struct k_ucontext *uc)
{
	struct thread *th = thread_of_return(uc->mc.reserved[7]);

	uc->mc.reserved[7] = 0;
	if (th) {
		set_altstack(th, &uc->stack, (u64)uc);
		uc->stack = thread_stack(th);
	}
	masks_set(uc->sigmask);
	uc->sigmask = masks_real(uc->sigmask);
	agent_sigreturn(uc);
}

void do_sigreturn(struct frame *f)
{
	struct k_ucontext *uc = (struct k_ucontext *)f->uc->mc.rsp;
	struct k_ucontext probe;

	if (agent_copy(&probe, uc, sizeof(probe)) || agent_copy(uc, &probe, sizeof(probe)))
		die_of_bad_stack(f);
	else
		agent_return(uc);
}

long do_sigaltstack(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct k_stack new, old = f->th->altstack;
	int here = on_stack(&old, mc->rsp);

	if (mc->rdi && agent_copy(&new, (void *)mc->rdi, sizeof(new)))
		return -EFAULT_;
	if (mc->rdi) {
		long ret = set_altstack(f->th, &new, mc->rsp);

		if (ret)
			return ret;
	}
	old.flags |= here ? SS_ONSTACK_ : 0;
	if (mc->rsi && agent_copy((void *)mc->rsi, &old, sizeof(old)))
		return -EFAULT_;
	return 0;
}
