/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the agent starts, and where every signal arrives.
 */
#include "agent.h"
#include "clone.h"
#include "shortcut.h"

struct agent_data A __attribute__((section(".bss.first")));

#define AT_COPY(rip) ((rip) >= (u64)agent_copy_begin && (rip) < (u64)agent_copy_end)

void *memcpy(void *to, const void *from, unsigned long size)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
	return start;
}

void *memset(void *to, int value, unsigned long size)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
	return start;
}

void fatal(const char *why)
{
	u64 length = 0;

	while (why[length])
		length++;
	sys(NR_write, 2, why, length);
	for (;;)
		sys(NR_exit_group, 70);
}

static void put_hex(u64 value)
{
	char text[16];

	for (u64 i = 0; i < sizeof(text); i++)
		text[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
	sys(NR_write, 2, text, sizeof(text));
}

static void __attribute__((noreturn)) agent_faulted(const struct k_sigcontext *mc)
{
	static const char what[] = "softsgx: internal error: the agent faulted at ";

	sys(NR_write, 2, what, sizeof(what) - 1);
	put_hex(mc->rip);
	sys(NR_write, 2, ", address ", 10);
	put_hex(mc->cr2);
	fatal("\n");
}

/* ---- signals arrive ---- */

/* Linux's rule for its own vDSO: a fault at the ENCLU becomes a return value. */
static int vdso_fixup(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;

	if (f->info->code <= 0 || mc->rip != A.vdso_enclu)
		return 0;
	if (!(SIGBIT(f->sig) & FAULT_SIGNALS) || mc->trapno == 1 || mc->trapno == 3)
		return 0;
	mc->rdi = mc->trapno;
	mc->rsi = mc->err;
	mc->rdx = mc->trapno == 14 ? mc->cr2 : 0;
	mc->rip = A.vdso_fault;
	return 1;
}

/* Traps of our own making outside enclaves: ENCLU, patched sites, CPUID. */
static int our_trap(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	enum site_kind kind = site_of(f);

	if (f->info->code <= 0)
		return 0;
	if (f->sig == SIGILL && at_enclu(mc->rip)) {
		kind = SITE_ENCLU;
	} else if (kind != SITE_NONE) {
		/* Known by what stands there. */
	} else if (f->sig == SIGSEGV && f->info->code == SI_KERNEL &&
		   (A.config.flags & CONFIGFLAG_CPUID_FAULTING) && at_cpuid(mc->rip)) {
		kind = SITE_CPUID;
	} else if (f->sig == SIGSEGV && f->info->code == SI_KERNEL && at_rdtsc(mc->rip)) {
		return allow_rdtsc(f->th);
	}
	if (kind == SITE_ENCLU)
		host_enclu(f);
	else if (kind == SITE_CPUID)
		emulate_cpuid(f->uc);
	if (kind == SITE_CPUID && (mc->rflags & RFLAGS_TF))
		raise_single_step(f);
	return kind != SITE_NONE;
}

/* Finish a signal: the vDSO's table, then the program. */
void signal_program(struct frame *f)
{
	if (!vdso_fixup(f))
		deliver(f);
}

/* ---- signals that come while the agent works ---- */

/* The agent's handler blocks all signals but those that its copies may raise.  When
 * somebody sends such a one meanwhile, it waits here: if it were blocked as well, the
 * next copy that faults would end the process. */
static struct {
	u32 tid;
	struct k_siginfo info;
} deferred[16];
HIDDEN u32 nr_deferred; /* entry.S looks at it */

static void defer(const struct k_siginfo *info)
{
	u32 tid = (u32)sys(NR_gettid, 0), none = 0;

	for (u64 i = 0; i < ARRAY_SIZE(deferred); i++, none = 0) {
		if (!__atomic_compare_exchange_n(&deferred[i].tid, &none, tid, 0,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			continue;
		deferred[i].info = *info;
		__atomic_add_fetch(&nr_deferred, 1, __ATOMIC_RELEASE);
		return;
	}
}

/* The agent will copy no more: what waited may come when the program's mask is back. */
__attribute__((used)) HIDDEN void deferred_return(void)
{
	u64 faults = SIGBIT(SIGSEGV) | SIGBIT(SIGBUS);
	u32 tid = (u32)sys(NR_gettid, 0);

	sys(NR_rt_sigprocmask, 0, &faults, 0, 8);
	if (visit_stop == tid) {
		visit_stop = 0;
		stop_for_tracer();
	}
	for (u64 i = 0; i < ARRAY_SIZE(deferred); i++) {
		if (deferred[i].tid != tid)
			continue;
		signal_requeue(&deferred[i].info);
		__atomic_store_n(&deferred[i].tid, 0, __ATOMIC_RELEASE);
		__atomic_sub_fetch(&nr_deferred, 1, __ATOMIC_RELEASE);
	}
}

/* Those that are pending as far as the program can know. */
u64 deferred_signals(void)
{
	u32 tid = (u32)sys(NR_gettid, 0);
	u64 set = 0;

	for (u64 i = 0; i < ARRAY_SIZE(deferred); i++)
		if (deferred[i].tid == tid)
			set |= SIGBIT(deferred[i].info.signo);
	return set;
}

void deferred_forked(void)
{
	memset(deferred, 0, sizeof(deferred));
	nr_deferred = 0;
}

static int is_within(u64 rip, const u8 *begin, const u8 *end)
{
	return rip >= (u64)begin && rip < (u64)end;
}

/* A gate that may wait is the program's: the call is its own, and so is the mask. */
static int in_agent(u64 rip)
{
	return rip >= AGENT_BASE && rip < AGENT_BASE + VDSO_OFFSET &&
	       !is_within(rip, agent_reissue_wait, agent_waited_end);
}

static void while_agent_works(struct frame *f)
{
	u64 bit = SIGBIT(f->sig);

	if ((bit & FAULT_SIGNALS) && f->info->code > 0) {
		if (pages_wait(f))
			return;
		if (!is_within(f->uc->mc.rip, agent_border_begin, agent_border_end))
			agent_faulted(&f->uc->mc);
		/* The program made its handler's stack unusable, as Linux would say. */
		f->info->code = SI_KERNEL;
		f->info->addr = 0;
		deliver(f);
	} else if (f->sig == SIGSEGV || f->sig == SIGBUS) {
		defer(f->info);
		if (is_within(f->uc->mc.rip, agent_tail, agent_tail_end))
			f->uc->mc.rip = (u64)agent_tail;
	} else { /* Before the border closed. */
		f->uc->sigmask |= bit;
		signal_requeue(f->info);
	}
}

static void from_program(struct frame *f)
{
	if (f->th && f->th->inside)
		inside_signal(f);
	else if (f->sig == SIGSYS && f->info->code == SYS_SECCOMP_)
		trapped_syscall(f);
	else if (!stop_of_ours(f) && !abort_step_ended(f) && !our_trap(f) &&
		 !outside_fault(f) && !open_own_mask(f))
		signal_program(f);
}

/* The program steps through itself, and what it stepped through is the agent's. */
static int is_step_of_ours(const struct frame *f)
{
	const struct k_sigcontext *mc = &f->uc->mc;

	return f->sig == SIGTRAP && f->info->code == TRAP_TRACE_ &&
	       (in_agent(mc->rip) || reissue_stepped(mc));
}

/* One place of ours makes a call that is trapped: see agent_reissue_look. */
static int is_late(const struct frame *f)
{
	return f->sig == SIGSYS && f->uc->mc.rip == (u64)agent_reissue_end;
}

/* 1: the signal came while the agent worked, which goes on. */
__attribute__((used)) HIDDEN int agent_signal(int sig, struct k_siginfo *info,
					      struct k_ucontext *uc)
{
	struct frame f = {sig, info, uc, thread_of_stack()};

	if (info->code > 0 && AT_COPY(uc->mc.rip)) {
		uc->mc.rip = (u64)agent_copy_fault;
		return 1;
	}
	if (info->code > 0 && shortcut_probe(&f))
		return 1;
	notice_fork();
	if (state_ended(&f))
		return 0;
	if (info->code <= 0 || !(SIGBIT(sig) & FAULT_SIGNALS)) {
		reissue_unwind(&uc->mc);
		clone_unwind(&uc->mc);
		site_unwind(&f);
	}
	if (is_step_of_ours(&f))
		return 1;
	if (in_agent(uc->mc.rip) && !is_late(&f) && !sent_in_shortcut(&f)) {
		while_agent_works(&f);
		return 1;
	}
	from_program(&f);
	return 0;
}

/* The program's first instruction, in the state that an execve leaves. */
static void __attribute__((noreturn)) begin_program(void)
{
	struct k_ucontext uc = {0};

	uc.flags = UC_SIGCONTEXT_SS_ | UC_STRICT_RESTORE_SS_;
	uc.stack.flags = SS_DISABLE_;
	uc.mc.rip = A.config.entry;
	uc.mc.rsp = A.config.stack;
	uc.mc.rflags = RFLAGS_IF;
	uc.mc.cs = USER64_CS;
	uc.mc.ss = USER64_SS;
	uc.sigmask = masks_real(A.config.blocked);
	shortcut_mask(uc.sigmask);
	if (A.config.flags & CONFIGFLAG_WATCHED)
		born_under_tracer();
	agent_sigreturn(&uc);
}

/* No tracer of ours has done it. */
static void block_signals(void)
{
	u64 all = ~0ul, mask = 0;

	sys(NR_rt_sigprocmask, 2, &all, &mask, 8);
	A.config.blocked |= mask;
}

__attribute__((used)) HIDDEN void agent_init(void)
{
	sys(NR_mprotect, AGENT_BASE, DATA_OFFSET, PROT_READ_ | PROT_EXEC_);
	sys(NR_mprotect, AGENT_BASE + DATA_OFFSET, AGENT_SIZE - DATA_OFFSET,
	    PROT_READ_ | PROT_WRITE_);
	/* Valgrind unmaps the vDSO, and all that lies beside it and is alike. */
	sys(NR_mprotect, AGENT_BASE + VDSO_OFFSET - 4096, 4096, PROT_NONE_);
	sys(NR_madvise, AGENT_BASE + FORK_OFFSET, 4096, MADV_WIPEONFORK_);
	if (A.config.flags & CONFIGFLAG_CPUID_FAULTING)
		sys(NR_arch_prctl, ARCH_SET_CPUID, 0);
	if (A.config.flags & CONFIGFLAG_NO_RDTSC) /* the thread that called execve */
		sys(NR_prctl, PR_SET_TSC_, PR_TSC_ENABLE_);
	notice_fork();
	sites_init();
	if (A.config.flags & CONFIGFLAG_BORN_STOP)
		block_signals();
	if (A.config.flags & CONFIGFLAG_WATCHED)
		masks_watched();
	actions_init();
	masks_inherit(A.config.blocked, A.config.pending);
	paths_init((const u64 *)A.config.stack);
	begin_program();
}
