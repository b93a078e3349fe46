/* SPDX-License-Identifier: Apache-2.0
 *
 * System calls that the filters trap: the few that can concern SGX are decided here
 * or by the supervisor; the others are made again, from the agent's text, outside the
 * handler, so that they block, restart and are interrupted as they always were.
 */
#include "agent.h"
#include "filter.h"

#define PATH_MAX_ 64
#define AT_FDCWD_ (-100)

static const char enclave_path[] = "/dev/sgx_enclave";
static const char provision_path[] = "/dev/sgx_provision";
static const char like_path[] = "/dev/null";

/* ---- paths ---- */

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* Which of our nodes a path names, 0 for any other path. */
static u32 node_of(u64 path)
{
	char copy[PATH_MAX_];
	long length = agent_copy_string(copy, (const char *)path, sizeof(copy) - 1);

	if (length < 0 || length >= (long)sizeof(copy) - 1)
		return 0;
	copy[length] = 0;
	if ((A.config.flags & CONFIGFLAG_ENCLAVE_NODE) && same(copy, enclave_path))
		return NODE_ENCLAVE;
	if ((A.config.flags & CONFIGFLAG_PROVISION_NODE) && same(copy, provision_path))
		return NODE_PROVISION;
	return 0;
}

static void do_open(struct frame *f, u64 path, u64 flags)
{
	u32 node = node_of(path);
	long fd;

	if (!node) {
		reissue(f);
		return;
	}
	fd = call_supervisor(CALL_OPEN, node, flags, 0, 0, 0);
	if (fd >= 0 && node == NODE_ENCLAVE)
		become_sgx_user(f);
	f->uc->mc.rax = (u64)fd;
}

static void do_openat2(struct frame *f)
{
	u64 flags = 0;

	if (!node_of(f->uc->mc.rsi) || agent_copy(&flags, (void *)f->uc->mc.rdx, 8))
		reissue(f);
	else
		do_open(f, f->uc->mc.rsi, flags);
}

/* stat and its kin: as of the null device, with the numbers and mode of a misc node. */
static void do_stat(struct frame *f, u64 path, u64 buffer)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u32 node = node_of(path);
	u64 rdev = 10 << 8 | (node == NODE_ENCLAVE ? 125 : 126);
	u32 mode;
	long ret;

	if (!node) {
		reissue(f);
		return;
	}
	if (mc->rax == NR_statx) {
		u32 device[2] = {10, (u32)rdev & 0xff};

		ret = sys(NR_statx, AT_FDCWD_, like_path, mc->rdx, mc->r10, buffer);
		if (ret == 0)
			ret = agent_copy((void *)(buffer + 128), device, sizeof(device));
	} else {
		ret = sys(NR_stat, like_path, buffer);
		if (ret == 0)
			ret = agent_copy((void *)(buffer + 40), &rdev, 8);
		mode = 0020666;
		if (ret == 0)
			ret = agent_copy((void *)(buffer + 24), &mode, 4);
	}
	mc->rax = (u64)ret;
}

static void do_access(struct frame *f, u64 path, u64 mode)
{
	if (!node_of(path))
		reissue(f);
	else
		f->uc->mc.rax = (u64)sys(NR_access, like_path, mode);
}

/* ---- the device ---- */

static void do_ioctl(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct answer ans;
	long ret;

	ans.ctx.nops = ans.ctx.more = 0;
	ret = call_supervisor(CALL_IOCTL, mc->rdi, mc->rsi, mc->rdx, (u64)&ans, 0);
	if (ret == -NOT_OURS_CODE) {
		reissue(f);
		return;
	}
	carry_out(&ans);
	mc->rax = (u64)ret;
}

static void do_sigreturn(struct frame *f)
{
	struct k_ucontext *uc = (struct k_ucontext *)f->uc->mc.rsp;
	struct k_ucontext probe;

	if (agent_copy(&probe, uc, sizeof(probe)) || agent_copy(uc, &probe, sizeof(probe))) {
		f->sig = f->info->signo = SIGSEGV;
		f->info->code = SI_KERNEL;
		f->info->addr = 0;
		deliver(f);
		return;
	}
	agent_return(uc);
}

/* ---- the table ---- */

static int path_syscall(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;

	switch (mc->rax) {
	case NR_open:
		do_open(f, mc->rdi, mc->rsi);
		return 1;
	case NR_openat:
		do_open(f, mc->rsi, mc->rdx);
		return 1;
	case NR_openat2:
		do_openat2(f);
		return 1;
	case NR_stat:
	case NR_lstat:
		do_stat(f, mc->rdi, mc->rsi);
		return 1;
	case NR_newfstatat:
		do_stat(f, mc->rsi, mc->rdx);
		return 1;
	case NR_statx:
		do_stat(f, mc->rsi, mc->r8);
		return 1;
	case NR_access:
		do_access(f, mc->rdi, mc->rsi);
		return 1;
	case NR_faccessat:
	case NR_faccessat2:
		do_access(f, mc->rsi, mc->rdx);
		return 1;
	}
	return 0;
}

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
		if (!take_pending(f))
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

void trapped_syscall(struct frame *f)
{
	u64 here = f->uc->mc.rip, faults = SIGBIT(SIGSEGV) | SIGBIT(SIGBUS);

	/* Copies from the program may fault even where it blocks those signals. */
	if (f->uc->sigmask & faults)
		sys(NR_rt_sigprocmask, 1, &faults, 0, 8);
	/* A filter of the program's own may trap too: then the signal is the program's.
	 * Our filters trap only the calls below. */
	if (path_syscall(f) || signal_syscall(f))
		return;
	switch (f->uc->mc.rax) {
	case NR_ioctl:
		do_ioctl(f);
		return;
	case NR_mmap:
		do_mmap(f);
		return;
	case NR_mprotect:
		do_mprotect(f);
		return;
	case NR_munmap:
		do_munmap(f);
		return;
	}
	f->uc->mc.rip = here;
	deliver(f);
}

/* ---- the second filter ---- */

/* Once a process has the device open, changes of its mappings may concern an enclave,
 * and its signal stacks and returns are ours to look at. */
static struct sock_filter sgx_filter[] = {
	FILTER_HEAD(ALLOW),
	IF_EQ(NR_mprotect, 8, 0),
	IF_EQ(NR_munmap, 7, 0),
	IF_EQ(NR_sigaltstack, 6, 0),
	IF_EQ(NR_rt_sigreturn, 5, 0),
	IF_EQ(NR_mmap, 0, 5),
	LOAD_LOW(3),
	IF_SET(MAP_FIXED_, 2, 0),
	LOAD_LOW(4),
	IF_EQ(0xffffffff, 1, 0),
	TRAP,
	ALLOW,
};

struct k_fprog {
	u16 len;
	struct sock_filter *filter;
};

#define PR_SET_NO_NEW_PRIVS_ 38
#define NR_prctl 157

void become_sgx_user(struct frame *f)
{
	struct k_fprog prog = {ARRAY_SIZE(sgx_filter), sgx_filter};

	if (A.config.tier >= 2)
		return;
	A.config.tier = 2;
	signals_own_all(f);
	threads_adapt();
	if (sys(NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) == 0)
		return;
	sys(NR_prctl, PR_SET_NO_NEW_PRIVS_, 1, 0, 0, 0);
	if (sys(NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) != 0)
		sys(NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog);
}
