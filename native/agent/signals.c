/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual signals: the program's handlers, masks and signal stack as it sees them,
 * over the real ones that the agent keeps.
 *
 * The agent owns the fault signals from the start, and every signal once the process
 * uses SGX: a handler must never run on an enclave's stack or see its registers.
 */
#include "agent.h"

#define AGENT_MASK (~(SIGBIT(SIGSEGV) | SIGBIT(SIGBUS)))
#define KEPT_FLAGS (SA_RESTART_ | 1u | 2u) /* and SA_NOCLDSTOP, SA_NOCLDWAIT */
#define HANDLER_FLAGS_CLEAR 0x10500ul	   /* TF, DF, RF */

static volatile u32 masked_lock;
static u64 owned = FAULT_SIGNALS;

/* Signals that the kernel must never block: at first those of the traps that any
 * program meets, and all fault signals once the process uses SGX. */
static u64 unblocked = SIGBIT(SIGSYS) | SIGBIT(SIGTRAP);

static void lock(volatile u32 *word)
{
	while (__atomic_exchange_n(word, 1, __ATOMIC_ACQUIRE))
		__asm__ volatile("pause");
}

static void unlock(volatile u32 *word)
{
	__atomic_store_n(word, 0, __ATOMIC_RELEASE);
}

/* After a fork only the forking thread is left: whoever held the lock is gone. */
void signals_forked(void)
{
	unlock(&masked_lock);
}

/* ---- fault signals that a thread believes to be blocked ---- */

static struct masked *masked_find(u64 fsbase)
{
	for (u64 i = 0; i < ARRAY_SIZE(A.masked); i++)
		if (A.masked[i].blocked && A.masked[i].fsbase == fsbase)
			return &A.masked[i];
	return 0;
}

static u64 host_fsbase(const struct frame *f)
{
	return f->th && f->th->inside ? f->th->savefs : rdfsbase();
}

static u64 blocked_faults(const struct frame *f)
{
	const struct masked *m;

	if (!__atomic_load_n(&A.nr_masked, __ATOMIC_RELAXED))
		return 0;
	m = masked_find(host_fsbase(f));
	return m ? m->blocked : 0;
}

static void requeue(const struct k_siginfo *info)
{
	sys(NR_rt_tgsigqueueinfo, sys(NR_getpid, 0), sys(NR_gettid, 0),
	    (u32)info->signo, info);
}

static int fault_index(int sig)
{
	static const u8 order[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};

	for (u64 i = 0; i < ARRAY_SIZE(order); i++)
		if (order[i] == sig)
			return (int)i;
	return 0;
}

static void masked_release(struct masked *m, u64 still)
{
	for (int sig = 1; sig <= SIGSYS; sig++) {
		u64 bit = SIGBIT(sig);

		if ((m->pending & bit) && !(still & bit)) {
			m->pending &= ~bit;
			requeue(&m->info[fault_index(sig)]);
		}
	}
	m->blocked = still;
	if (!still)
		A.nr_masked--;
}

static void set_blocked_faults(u64 fsbase, u64 bits)
{
	struct masked *m;

	bits &= unblocked;
	if (!bits && !__atomic_load_n(&A.nr_masked, __ATOMIC_RELAXED))
		return;
	if (borrowed_memory())
		return;
	lock(&masked_lock);
	m = masked_find(fsbase);
	if (m) {
		masked_release(m, bits);
	} else if (bits) {
		for (u64 i = 0; i < ARRAY_SIZE(A.masked); i++) {
			m = &A.masked[i];
			if (m->blocked)
				continue;
			m->fsbase = fsbase;
			m->pending = 0;
			m->blocked = bits;
			A.nr_masked++;
			break;
		}
	}
	unlock(&masked_lock);
}

/* ---- delivery ---- */

static void real_action(int sig, u64 handler, u64 flags, u64 mask)
{
	struct k_sigaction act = {handler, flags | SA_RESTORER_,
				  (u64)agent_kernel_restorer, mask};

	sys(NR_rt_sigaction, sig, &act, 0, 8);
}

static void real_agent(int sig, u64 program_flags)
{
	real_action(sig, (u64)agent_entry,
		    SA_SIGINFO_ | SA_ONSTACK_ | SA_NODEFER_ |
			    (program_flags & KEPT_FLAGS),
		    AGENT_MASK);
}

/* The default action: give the signal back to the kernel with nothing in its way. */
static void die(struct frame *f)
{
	real_action(f->sig, SIG_DFL_, 0, 0);
	f->uc->sigmask &= ~SIGBIT(f->sig);
	requeue(f->info);
}

static int on_stack(const struct k_stack *stack, u64 sp)
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

static void hold(struct frame *f)
{
	struct masked *m;

	lock(&masked_lock);
	m = masked_find(host_fsbase(f));
	if (m && !(m->pending & SIGBIT(f->sig))) {
		m->pending |= SIGBIT(f->sig);
		m->info[fault_index(f->sig)] = *f->info;
	}
	unlock(&masked_lock);
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

/* Signals that wait here because the kernel may not block them are given first; the
 * kernel looks after the others. */
int take_pending(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct masked *m = A.nr_masked ? masked_find(host_fsbase(f)) : 0;
	u64 set;

	if (!m || !m->pending || agent_copy(&set, (void *)mc->rdi, 8))
		return 0;
	for (int sig = 1; sig <= SIGSYS; sig++) {
		struct k_siginfo *info = &m->info[fault_index(sig)];

		if (!(m->pending & set & SIGBIT(sig)))
			continue;
		m->pending &= ~SIGBIT(sig);
		mc->rax = (u64)sig;
		if (mc->rsi && agent_copy((void *)mc->rsi, info, sizeof(*info)))
			mc->rax = (u64)-EFAULT_;
		return 1;
	}
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

/* ---- start ---- */

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

/* Take signals out of a mask that the kernel keeps. */
u64 signals_unblocked(u64 mask)
{
	return mask & ~unblocked;
}

/* From now on every signal is ours: a thread of this process may be in an enclave. */
void signals_own_all(struct frame *f)
{
	unblocked = FAULT_SIGNALS;
	set_blocked_faults(rdfsbase(), f->uc->sigmask | blocked_faults(f));
	f->uc->sigmask &= ~unblocked;
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
