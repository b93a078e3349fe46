/* SPDX-License-Identifier: Apache-2.0
 *
 * System calls that the filters trap: which of them are ours.
 */
#include "agent.h"
#include "clone.h"
#include "locks.h"

static int signal_syscall(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;

	switch (mc->rax) {
	case NR_rt_sigaction:
		mc->rax = (u64)do_sigaction(f);
		return 1;
	case NR_rt_sigprocmask:
		mc->rax = (u64)do_sigprocmask(f);
		return 1;
	case NR_rt_sigpending:
		mc->rax = (u64)do_sigpending(f);
		return 1;
	case NR_rt_sigtimedwait:
		if (!do_sigtimedwait(f))
			reissue(f);
		return 1;
	case NR_rt_sigqueueinfo:
	case NR_rt_tgsigqueueinfo:
	case NR_pidfd_send_signal:
		if (!do_send_info(f))
			reissue(f);
		return 1;
	case NR_rt_sigreturn:
		do_sigreturn(f);
		return 1;
	case NR_rt_sigsuspend:
		reissue_masked(f, &mc->rdi, agent_reissue_rdi);
		return 1;
	case NR_ppoll:
		reissue_masked(f, &mc->r10, agent_reissue_r10);
		return 1;
	case NR_epoll_pwait:
	case NR_epoll_pwait2:
		reissue_masked(f, &mc->r8, agent_reissue_r8);
		return 1;
	case NR_pselect6:
		reissue_pselect(f);
		return 1;
	case NR_sigaltstack:
		if (f->th)
			mc->rax = (u64)do_sigaltstack(f);
		else
			reissue(f);
		return 1;
	}
	return 0;
}

/* The first process of the tree dies with softsgx; the program is not to see that. */
static void do_deathsig(struct frame *f, u32 option)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u32 none = 0;

	if (option == PR_SET_PDEATHSIG_)
		A.own_deathsig = 1;
	if (A.own_deathsig)
		reissue(f);
	else
		mc->rax = (u64)agent_copy((void *)mc->rsi, &none, sizeof(none));
}

/* A supervisor without privileges can do nothing for a process that it may not look at:
 * such a process only believes to be undumpable. */
static void do_dumpable(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;

	if (!(A.config.flags & CONFIGFLAG_KEEP_DUMPABLE)) {
		reissue(f);
	} else if ((u32)mc->rdi == PR_GET_DUMPABLE_) {
		mc->rax = !A.undumpable;
	} else if (mc->rsi > 1) {
		mc->rax = (u64)-EINVAL_;
	} else {
		A.undumpable = !mc->rsi;
		mc->rax = 0;
	}
}

static int do_prctl(struct frame *f)
{
	u32 option = (u32)f->uc->mc.rdi;

	switch (option) {
	case PR_SET_PDEATHSIG_:
	case PR_GET_PDEATHSIG_:
		do_deathsig(f, option);
		return 1;
	case PR_GET_DUMPABLE_:
	case PR_SET_DUMPABLE_:
		do_dumpable(f);
		return 1;
	case PR_SET_SECCOMP_:
		do_prctl_seccomp(f);
		return 1;
	case PR_GET_TSC_:
	case PR_SET_TSC_:
		allow_rdtsc(f->th);
		reissue(f);
		return 1;
	case PR_SET_SYSCALL_USER_DISPATCH_:
		/* It would get the agent's own calls, and it is in use for enclaves. */
		f->uc->mc.rax = (u64)-EINVAL_;
		return 1;
	}
	return 0;
}

static int memory_syscall(struct frame *f)
{
	switch (f->uc->mc.rax) {
	case NR_mmap:
		do_mmap(f);
		return 1;
	case NR_mprotect:
		do_mprotect(f);
		return 1;
	case NR_munmap:
		do_munmap(f);
		return 1;
	case NR_mremap:
		do_mremap(f);
		return 1;
	case NR_madvise:
		do_madvise(f);
		return 1;
	case NR_msync:
		do_msync(f);
		return 1;
	case NR_remap_file_pages:
		do_remap_file_pages(f);
		return 1;
	case NR_mlock:
	case NR_mlock2:
		do_mlock(f);
		return 1;
	case NR_mlockall:
	case NR_munlockall:
		do_mlockall(f);
		return 1;
	}
	return 0;
}

static int process_syscall(struct frame *f)
{
	switch (f->uc->mc.rax) {
	case NR_ioctl:
		do_ioctl(f);
		return 1;
	case NR_prctl:
		return do_prctl(f);
	case NR_execve:
		do_execve(f);
		return 1;
	case NR_clone3:
		do_clone3(f);
		return 1;
	case NR_seccomp:
		do_seccomp(f);
		return 1;
	case NR_read:
	case NR_write:
	case NR_pread64:
	case NR_pwrite64:
		do_transfer(f);
		return 1;
	case NR_sendto:
	case NR_recvfrom:
		reissue(f);
		return 1;
	case NR_ptrace:
		do_ptrace(f);
		return 1;
	case NR_wait4:
	case NR_waitid:
		reissue_wait(f);
		return 1;
	case WAITED_NR:
		do_waited(f);
		return 1;
	}
	return memory_syscall(f);
}

void trapped_syscall(struct frame *f)
{
	u64 faults = SIGBIT(SIGSEGV) | SIGBIT(SIGBUS);

	/* Copies from the program may fault even where it blocks those signals. */
	if (f->uc->sigmask & faults)
		sys(NR_rt_sigprocmask, 1, &faults, 0, 8);
	if (trapped_by_own_filter(f))
		return;
	/* Our filters trap only these; a filter of the program's own may trap more, and
	 * then the signal is the program's. */
	if (!is_our_trap(f) || (!reissue_late(f) && !do_buffer(f) && !path_syscall(f) &&
				!signal_syscall(f) && !process_syscall(f)))
		deliver(f);
}
