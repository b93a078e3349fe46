/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual signals: the program's handlers and signal stack as it sees them, over the
 * real ones that the agent keeps.
 *
 * The agent owns the fault signals from the start, and every signal once the process
 * uses SGX: a handler must never run on an enclave's stack or see its registers.
 */
#include "agent.h"

#define AGENT_MASK (~(SIGBIT(SIGSEGV) | SIGBIT(SIGBUS)))
#define KEPT_FLAGS (SA_RESTART_ | 1u | 2u) /* and SA_NOCLDSTOP, SA_NOCLDWAIT */

static u64 owned = FAULT_SIGNALS;

/* ---- the real actions ---- */

void real_action(int sig, u64 handler, u64 flags, u64 mask)
{
	struct k_sigaction act = {handler, flags | SA_RESTORER_,
				  (u64)agent_kernel_restorer, mask};

	sys(NR_rt_sigaction, sig, &act, 0, 8);
}

static void real_agent(int sig, u64 program_flags)
{
	real_action(sig, (u64)agent_entry,
		    SA_SIGINFO_ | SA_ONSTACK_ | SA_NODEFER_ |
			    (sig == SIGSYS ? SA_RESTART_ : program_flags & KEPT_FLAGS),
		    AGENT_MASK);
}

/* ---- the program's own calls ---- */

long do_sigprocmask(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 old = f->uc->sigmask | blocked_faults(f);
	u64 set, new = old;

	if (mc->r10 != 8)
		return -EINVAL_;
	if (mc->rsi) {
		if (agent_copy(&set, (void *)mc->rsi, 8))
			return -EFAULT_;
		switch ((u32)mc->rdi) {
		case 0:
			new = old | set;
			break;
		case 1:
			new = old & ~set;
			break;
		case 2:
			new = set;
			break;
		default:
			return -EINVAL_;
		}
		new &= ~(SIGBIT(SIGKILL) | SIGBIT(SIGSTOP));
		set_blocked_faults(host_fsbase(f), new);
		f->uc->sigmask = new & ~unblocked;
	}
	if (mc->rdx && agent_copy((void *)mc->rdx, &old, 8))
		return -EFAULT_;
	return 0;
}

long do_sigpending(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	const struct masked *m;
	u64 set = 0;
	long ret;

	if (mc->rsi > 8)
		return -EINVAL_;
	ret = sys(NR_rt_sigpending, &set, 8);
	if (ret < 0)
		return ret;
	m = A.nr_masked ? masked_find(host_fsbase(f)) : 0;
	if (m)
		set |= m->pending;
	return agent_copy((void *)mc->rdi, &set, mc->rsi);
}

static long set_owned_action(int sig, const struct k_sigaction *act)
{
	if (borrowed_memory()) {
		if (act->handler <= SIG_IGN_ && !(SIGBIT(sig) & FAULT_SIGNALS))
			real_action(sig, act->handler, act->flags & KEPT_FLAGS, 0);
		return 0;
	}
	A.actions[sig] = *act;
	if (SIGBIT(sig) & FAULT_SIGNALS)
		real_agent(sig, act->flags);
	else if (act->handler > SIG_IGN_)
		real_agent(sig, act->flags);
	else
		real_action(sig, act->handler, act->flags & KEPT_FLAGS, 0);
	return 0;
}

/* A signal that is still the kernel's: only keep the fault signals out of its mask. */
static long set_native_action(int sig, struct k_sigaction *act, int has_act,
			      struct k_sigaction *old)
{
	u64 hidden = A.actions[sig].mask;
	u64 stripped = act->mask & unblocked;
	long ret;

	act->mask &= ~unblocked;
	ret = sys(NR_rt_sigaction, sig, has_act ? act : 0, old, 8);
	if (ret < 0)
		return ret;
	old->mask |= hidden;
	if (has_act && !borrowed_memory())
		A.actions[sig].mask = stripped;
	return 0;
}

long do_sigaction(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct k_sigaction act = {0}, old = {0};
	int has_act = mc->rsi != 0;
	int sig = (int)mc->rdi;
	long ret;

	if (mc->r10 != 8)
		return -EINVAL_;
	if (has_act && agent_copy(&act, (void *)mc->rsi, sizeof(act)))
		return -EFAULT_;
	if (sig < 1 || sig > NSIG_ || (has_act && (sig == SIGKILL || sig == SIGSTOP)))
		return -EINVAL_;
	if (owned & SIGBIT(sig)) {
		old = A.actions[sig];
		ret = has_act ? set_owned_action(sig, &act) : 0;
	} else {
		ret = set_native_action(sig, &act, has_act, &old);
	}
	if (ret == 0 && mc->rdx && agent_copy((void *)mc->rdx, &old, sizeof(old)))
		return -EFAULT_;
	return ret;
}

long do_sigaltstack(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct k_stack new, old = f->th->altstack;
	int here = on_stack(&old, mc->rsp);

	if (mc->rdi && agent_copy(&new, (void *)mc->rdi, sizeof(new)))
		return -EFAULT_;
	if (mc->rdi) {
		u32 mode = (u32)new.flags & ~(1u << 31);

		if (here)
			return -EPERM_;
		if (mode != SS_DISABLE_ && mode != SS_ONSTACK_ && mode != 0)
			return -EINVAL_;
		if (mode == SS_DISABLE_)
			new.sp = new.size = 0;
		else if (new.size < MINSIGSTKSZ_)
			return -ENOMEM_;
		f->th->altstack = new;
		f->th->altstack.flags &= ~SS_ONSTACK_;
	}
	old.flags |= here ? SS_ONSTACK_ : 0;
	if (mc->rsi && agent_copy((void *)mc->rsi, &old, sizeof(old)))
		return -EFAULT_;
	return 0;
}

void signals_init(void)
{
	u64 none = unblocked;

	for (int sig = 1; sig <= SIGSYS; sig++) {
		if (!(SIGBIT(sig) & FAULT_SIGNALS))
			continue;
		sys(NR_rt_sigaction, sig, 0, &A.actions[sig], 8);
		real_agent(sig, A.actions[sig].flags);
	}
	sys(NR_rt_sigprocmask, 1, &none, 0, 8);
}

/* From now on every signal is ours: a thread of this process may be in an enclave. */
void signals_own_all(struct frame *f)
{
	unblocked = FAULT_SIGNALS;
	adapt(f);
	for (int sig = 1; sig <= NSIG_; sig++) {
		struct k_sigaction act = {0};

		if ((owned & SIGBIT(sig)) || sig == SIGKILL || sig == SIGSTOP)
			continue;
		if (sys(NR_rt_sigaction, sig, 0, &act, 8) < 0)
			continue;
		act.mask |= A.actions[sig].mask;
		A.actions[sig] = act;
		if (act.handler > SIG_IGN_)
			real_agent(sig, act.flags);
	}
	owned = ~0ul;
}
