/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual dispositions and masks: what the program set, over what the kernel has.
 *
 * The agent owns the fault signals from the start, and every signal once the process
 * uses SGX: a handler must never run on an enclave's stack or see its registers.
 */
#include "agent.h"
#include "clone.h"
#include "shortcut.h"

/* Signals stay open in the agent that its copies from the program may raise. */
#define AGENT_MASK (~(SIGBIT(SIGSEGV) | SIGBIT(SIGBUS)))
#define KEPT_FLAGS (SA_RESTART_ | 1u | 2u) /* and SA_NOCLDSTOP, SA_NOCLDWAIT */

static volatile u32 actions_lock;
static u64 owned = FAULT_SIGNALS;

static void lock(void)
{
	while (__atomic_exchange_n(&actions_lock, 1, __ATOMIC_ACQUIRE))
		__asm__ volatile("pause");
}

static void unlock(void)
{
	__atomic_store_n(&actions_lock, 0, __ATOMIC_RELEASE);
}

void actions_forked(void)
{
	unlock();
}

/* ---- the kernel's ---- */

static void set_real(int sig, u64 handler, u64 flags, u64 mask)
{
	struct k_sigaction act = {handler, flags | SA_RESTORER_,
				  (u64)agent_kernel_restorer, mask};

	sys(NR_rt_sigaction, sig, &act, 0, 8);
}

/* A disposition that is no handler. */
void action_real(int sig, u64 handler, u64 flags)
{
	set_real(sig, handler, flags & KEPT_FLAGS, 0);
}

void action_own(int sig, u64 program_flags)
{
	set_real(sig, (u64)agent_entry,
		 SA_SIGINFO_ | SA_ONSTACK_ | SA_NODEFER_ | (program_flags & KEPT_FLAGS),
		 AGENT_MASK);
}

/* ---- the program's ---- */

/* What to do with a signal, once; another thread may be changing it. */
struct k_sigaction action_take(int sig)
{
	struct k_sigaction act;
	int once;

	lock();
	act = A.actions[sig];
	once = act.handler > SIG_IGN_ && (act.flags & SA_RESETHAND_);
	if (once)
		A.actions[sig].handler = SIG_DFL_;
	unlock();
	if (once && !(SIGBIT(sig) & FAULT_SIGNALS))
		action_real(sig, SIG_DFL_, 0);
	return act;
}

static long set_owned(int sig, const struct k_sigaction *act, struct k_sigaction *old)
{
	int borrowed = borrowed_memory();

	lock();
	*old = A.actions[sig];
	if (act && !borrowed)
		A.actions[sig] = *act;
	unlock();
	if (!act)
		return 0;
	if (!(SIGBIT(sig) & FAULT_SIGNALS) && act->handler <= SIG_IGN_)
		action_real(sig, act->handler, act->flags);
	else if (!borrowed)
		action_own(sig, act->flags);
	return 0;
}

/* A signal that is still the kernel's: only keep out of its mask what must never be
 * blocked. */
static long set_native(int sig, struct k_sigaction *act, struct k_sigaction *old)
{
	u64 hidden = A.actions[sig].mask;
	u64 stripped = act ? masks_hidden(act->mask) : 0;
	long ret;

	if (act) {
		act->mask = masks_real(act->mask);
		shortcut_mask(act->mask);
	}
	ret = sys(NR_rt_sigaction, sig, act, old, 8);
	if (ret < 0)
		return ret;
	old->mask |= hidden;
	if (act && !borrowed_memory())
		A.actions[sig].mask = stripped;
	return 0;
}

long do_sigaction(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct k_sigaction set = {0}, old = {0}, *act = mc->rsi ? &set : 0;
	int sig = (int)mc->rdi;
	long ret;

	if (mc->r10 != 8)
		return -EINVAL_;
	if (act && agent_copy(act, (void *)mc->rsi, sizeof(*act)))
		return -EFAULT_;
	if (sig < 1 || sig > NSIG_ || (act && (sig == SIGKILL || sig == SIGSTOP)))
		return -EINVAL_;
	ret = owned & SIGBIT(sig) ? set_owned(sig, act, &old) : set_native(sig, act, &old);
	if (ret == 0 && mc->rdx && agent_copy((void *)mc->rdx, &old, sizeof(old)))
		return -EFAULT_;
	return ret;
}

/* Whoever starts a program blocks all signals, and sets each action by a call. */
static int copy_action(struct k_sigaction *to, u64 from, int may_fault)
{
	const u64 ours[] = {(u64)to, sizeof(*to)}, theirs[] = {from, sizeof(*to)};

	if (may_fault)
		return agent_copy(to, (void *)from, sizeof(*to)) == 0;
	return syscall6(NR_process_vm_readv, (u64)sys(NR_getpid, 0), (u64)ours, 1,
			(u64)theirs, 1, 0) == sizeof(*to);
}

/* The kernel's signals, with nothing in their masks that it must not have. */
u8 *action_gate(const struct k_sigcontext *mc, int may_fault)
{
	struct k_sigaction act = {0};
	u64 sig = mc->rdi;

	if (sig < 1 || sig > NSIG_ || (owned & SIGBIT(sig)) || A.actions[sig].mask)
		return 0;
	if (mc->rsi && !copy_action(&act, mc->rsi, may_fault))
		return 0;
	if (masks_hidden(act.mask))
		return 0;
	shortcut_mask(act.mask);
	return agent_reissue_path;
}

long do_sigprocmask(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 old = f->uc->sigmask | masks_blocked();
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
		masks_set(new);
		f->uc->sigmask = masks_real(new);
		shortcut_mask(f->uc->sigmask);
	}
	if (mc->rdx && agent_copy((void *)mc->rdx, &old, 8))
		return -EFAULT_;
	return 0;
}

long do_sigpending(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 set = 0;
	long ret;

	if (mc->rsi > 8)
		return -EINVAL_;
	ret = sys(NR_rt_sigpending, &set, 8);
	if (ret < 0)
		return ret;
	set |= masks_pending() | deferred_signals();
	return agent_copy((void *)mc->rdi, &set, mc->rsi);
}

/* rt_sigtimedwait: signals that wait in the agent are given first; the kernel looks
 * after the others. */
int do_sigtimedwait(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct k_siginfo info;
	u64 set;

	if (agent_copy(&set, (void *)mc->rdi, 8) || !masks_take(set, &info))
		return 0;
	mc->rax = (u64)info.signo;
	if (mc->rsi && agent_copy((void *)mc->rsi, &info, sizeof(info)))
		mc->rax = (u64)-EFAULT_;
	return 1;
}

/* ---- start, and the step to a process that uses SGX ---- */

void actions_init(void)
{
	u64 none = masks_hidden(~0ul);

	for (int sig = 1; sig <= SIGSYS; sig++) {
		if (!(SIGBIT(sig) & FAULT_SIGNALS))
			continue;
		sys(NR_rt_sigaction, sig, 0, &A.actions[sig], 8);
		action_own(sig, A.actions[sig].flags);
	}
	sys(NR_rt_sigprocmask, 1, &none, 0, 8);
}

/* A child of CLONE_CLEAR_SIGHAND: all handlers are gone, and ours must be there again. */
void actions_cleared(void)
{
	int borrowed = borrowed_memory();

	for (int sig = 1; sig <= NSIG_; sig++) {
		u64 ignored = A.actions[sig].handler == SIG_IGN_ ? SIG_IGN_ : SIG_DFL_;

		if (!borrowed)
			A.actions[sig] = (struct k_sigaction){.handler = ignored};
		if (SIGBIT(sig) & FAULT_SIGNALS)
			action_own(sig, 0);
	}
}

/* From now on every signal that has a handler is ours. */
void actions_own_all(void)
{
	lock();
	for (int sig = 1; sig <= NSIG_; sig++) {
		struct k_sigaction act = {0};

		if ((owned & SIGBIT(sig)) || sig == SIGKILL || sig == SIGSTOP)
			continue;
		if (sys(NR_rt_sigaction, sig, 0, &act, 8) < 0)
			continue;
		act.mask |= A.actions[sig].mask;
		A.actions[sig] = act;
		if (act.handler > SIG_IGN_)
			action_own(sig, act.flags);
	}
	owned = ~0ul;
	unlock();
}
