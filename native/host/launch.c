/* SPDX-License-Identifier: Apache-2.0
 *
 * The first filter of the tree, and the first process under it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <unistd.h>

#include "filter.h"
#include "softsgx.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#define NR_epoll_pwait2 441
#define NR_open_tree 428
#define MS_BIND 4096
#define NR_clone3 435
#define NR_openat2 437
#define NR_faccessat2 439
#define SGX_IOCTL_TYPE 0xa400
#define N(a) (sizeof(a) / sizeof((a)[0]))

/* Trap, but only if the given argument is not NULL (either half is set). */
#define TRAP_IF_ARG(nr, n)                                              \
	IF_EQ(nr, 0, 6), LOAD_LOW(n), IF_EQ(0, 0, 2), LOAD_HIGH(n),     \
	IF_EQ(0, 1, 0), TRAP, ALLOW
/* Trap, but only if the given argument is the number of a fault's signal. */
#define TRAP_IF_FAULT(nr, n)                                            \
	IF_EQ(nr, 0, 9), LOAD_LOW(n), IF_EQ(SIGILL, 5, 0),              \
	IF_EQ(SIGTRAP, 4, 0), IF_EQ(SIGBUS, 3, 0), IF_EQ(SIGFPE, 2, 0), \
	IF_EQ(SIGSEGV, 1, 0), IF_EQ(SIGSYS, 0, 1), TRAP, ALLOW
#define TRAP_ALWAYS(nr) IF_EQ(nr, 0, 1), TRAP

/* Nothing here concerns a call that could not be about SGX, signals or start-up. */
static struct sock_filter first_filter[] = {
	FILTER_HEAD(NOTIFY),
	/* execve: the agent looks whether there is a program, and makes it again */
	TRAP_ALWAYS(__NR_execve),
	IF_EQ(__NR_execveat, 0, 1),
	NOTIFY,
	/* ioctl of SGX's type */
	IF_EQ(__NR_ioctl, 0, 5),
	LOAD_LOW(1),
	AND(0xff00),
	IF_EQ(SGX_IOCTL_TYPE, 0, 1),
	TRAP,
	ALLOW,
	/* mmap of a file: shared (an enclave), or executable (code to look through) */
	IF_EQ(__NR_mmap, 0, 10),
	LOAD_LOW(4),
	IF_EQ(0xffffffff, 7, 0),
	LOAD_LOW(3),
	AND(MAP_TYPE),
	IF_EQ(MAP_SHARED, 3, 0),
	IF_EQ(MAP_SHARED_VALIDATE, 2, 0),
	LOAD_LOW(2),
	IF_SET(PROT_EXEC, 0, 1),
	TRAP,
	ALLOW,
	/* the parent's death signal is ours, until the program sets one; whether we may
	 * look at the process; filters of its own, which must let the agent work; a
	 * dispatch of system calls, which the agent needs for itself */
	IF_EQ(__NR_prctl, 0, 9),
	LOAD_LOW(0),
	IF_EQ(PR_SET_PDEATHSIG, 5, 0),
	IF_EQ(PR_GET_PDEATHSIG, 4, 0),
	IF_EQ(PR_SET_DUMPABLE, 3, 0),
	IF_EQ(PR_GET_DUMPABLE, 2, 0),
	IF_EQ(PR_SET_SECCOMP, 1, 0),
	IF_EQ(PR_SET_SYSCALL_USER_DISPATCH, 0, 1),
	TRAP,
	ALLOW,
	TRAP_ALWAYS(__NR_seccomp),
	/* a child that has no handlers, whose flags no filter can see */
	TRAP_ALWAYS(NR_clone3),
	/* memory that is locked, which an enclave's is not */
	TRAP_ALWAYS(__NR_mlockall),
	TRAP_ALWAYS(__NR_munlockall),
	/* paths; fstat in disguise (AT_EMPTY_PATH) is not about one */
	IF_EQ(__NR_newfstatat, 0, 4),
	LOAD_LOW(3),
	IF_SET(AT_EMPTY_PATH, 1, 0),
	TRAP,
	ALLOW,
	IF_EQ(__NR_statx, 0, 4),
	LOAD_LOW(2),
	IF_SET(AT_EMPTY_PATH, 1, 0),
	TRAP,
	ALLOW,
	TRAP_ALWAYS(__NR_openat),
	TRAP_ALWAYS(__NR_open),
	TRAP_ALWAYS(__NR_stat),
	TRAP_ALWAYS(__NR_lstat),
	TRAP_ALWAYS(__NR_access),
	TRAP_ALWAYS(__NR_faccessat),
	TRAP_ALWAYS(NR_faccessat2),
	TRAP_ALWAYS(NR_openat2),
	TRAP_ALWAYS(__NR_getxattr),
	TRAP_ALWAYS(__NR_lgetxattr),
	TRAP_ALWAYS(__NR_listxattr),
	TRAP_ALWAYS(__NR_llistxattr),
	TRAP_ALWAYS(__NR_chdir),
	TRAP_ALWAYS(__NR_statfs),
	/* names that are made, moved or taken away, and what is at them */
	TRAP_ALWAYS(__NR_creat),
	TRAP_ALWAYS(__NR_truncate),
	TRAP_ALWAYS(__NR_rename),
	TRAP_ALWAYS(__NR_mkdir),
	TRAP_ALWAYS(__NR_rmdir),
	TRAP_ALWAYS(__NR_link),
	TRAP_ALWAYS(__NR_unlink),
	TRAP_ALWAYS(__NR_symlink),
	TRAP_ALWAYS(__NR_chmod),
	TRAP_ALWAYS(__NR_chown),
	TRAP_ALWAYS(__NR_lchown),
	TRAP_ALWAYS(__NR_mknod),
	TRAP_ALWAYS(__NR_mkdirat),
	TRAP_ALWAYS(__NR_mknodat),
	TRAP_ALWAYS(__NR_fchownat),
	TRAP_ALWAYS(__NR_unlinkat),
	TRAP_ALWAYS(__NR_renameat),
	TRAP_ALWAYS(__NR_linkat),
	TRAP_ALWAYS(__NR_symlinkat),
	TRAP_ALWAYS(__NR_fchmodat),
	TRAP_IF_ARG(__NR_utimensat, 1),
	TRAP_ALWAYS(__NR_renameat2),
	/* a mount of one file */
	IF_EQ(__NR_mount, 0, 4),
	LOAD_LOW(3),
	IF_SET(MS_BIND, 0, 1),
	TRAP,
	ALLOW,
	TRAP_ALWAYS(NR_open_tree),
	/* a debugger's requests that are about memory, or let its tracee go on */
	IF_EQ(__NR_ptrace, 0, 8),
	LOAD_LOW(0),
	IF_GE(PTRACE_SETOPTIONS, 5, 0),
	IF_EQ(PTRACE_GETREGS, 4, 0),
	IF_EQ(PTRACE_PEEKUSER, 0, 2),
	LOAD_LOW(2),
	IF_EQ(offsetof(struct user_regs_struct, fs_base), 0, 1),
	TRAP,
	ALLOW,
	/* signals: see actions.c of the agent */
	TRAP_ALWAYS(__NR_rt_sigaction),
	TRAP_ALWAYS(__NR_rt_sigprocmask),
	TRAP_IF_ARG(__NR_ppoll, 3),
	TRAP_IF_ARG(__NR_pselect6, 5),
	TRAP_IF_ARG(__NR_epoll_pwait, 4),
	TRAP_IF_ARG(NR_epoll_pwait2, 4),
	TRAP_ALWAYS(__NR_rt_sigsuspend),
	TRAP_ALWAYS(__NR_rt_sigpending),
	TRAP_ALWAYS(__NR_rt_sigtimedwait),
	TRAP_IF_FAULT(__NR_rt_sigqueueinfo, 1),
	TRAP_IF_FAULT(__NR_rt_tgsigqueueinfo, 2),
	TRAP_IF_FAULT(__NR_pidfd_send_signal, 1),
	ALLOW,
};

/* In front of it: what is in no row of it passes by its number alone, from wherever it is
 * made.  The kernel sees that before any call is made, and asks no filter about those. */
#define MAX_NUMBERS 96
static struct sock_filter numbers[MAX_NUMBERS + 4 + N(first_filter)] = {
	LOAD(arch), IF_EQ(AUDIT_ARCH_X86_64, 1, 0), ALLOW, LOAD(nr),
};

static void look_at(size_t *end, uint32_t nr)
{
	if (*end < MAX_NUMBERS + 3)
		numbers[*end] = (struct sock_filter)IF_EQ(nr, 0, 0);
	(*end)++;
}

/* Every row begins with its number, which jumps to the next row if it is another. */
static size_t put_numbers_first(void)
{
	static const struct sock_filter head[] = {FILTER_HEAD(NOTIFY)}, pass = ALLOW;
	size_t first = 4, end = first;

	look_at(&end, CALL_NR);
	look_at(&end, LATE_NR);
	for (size_t i = N(head); first_filter[i].code == (BPF_JMP | BPF_JEQ | BPF_K);
	     i += 1 + first_filter[i].jf)
		look_at(&end, first_filter[i].k);
	if (end > MAX_NUMBERS + 3)
		return 0; /* no filter for the kernel */
	for (size_t i = first; i < end; i++)
		numbers[i].jt = (uint8_t)(end - i);
	numbers[end++] = pass;
	memcpy(numbers + end, first_filter, sizeof(first_filter));
	return end + N(first_filter);
}

static int install(unsigned int flags)
{
	struct sock_fprog prog = {(unsigned short)put_numbers_first(), numbers};

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		       SECCOMP_FILTER_FLAG_NEW_LISTENER | flags, &prog);
}

/* Without CAP_SYS_ADMIN a filter needs no_new_privs; with it, setuid programs of the
 * tree keep working.  WAIT_KILLABLE_RECV is of Linux 5.19. */
static int install_best(void)
{
	int fd = install(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);

	if (fd < 0 && errno == EACCES) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		fd = install(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
	}
	if (fd < 0 && errno == EINVAL)
		fd = install(0);
	return fd;
}

/* What Python changed for itself; its other handlers end with the execve. */
static void restore_signals(void)
{
	struct sigaction act = {.sa_handler = SIG_DFL};

	sigaction(SIGPIPE, &act, NULL);
	sigaction(SIGXFSZ, &act, NULL);
}

static void __attribute__((noreturn))
child(const char *path, char *const argv[], char *const envp[], int pipe_fd, pid_t parent)
{
	int listener, report;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(125);
	restore_signals();
	listener = install_best();
	report = listener < 0 ? -errno : listener;
	if (write(pipe_fd, &report, sizeof(report)) != sizeof(report) || listener < 0)
		_exit(125);
	/* There is no agent yet for an execve to trap into. */
	syscall(SYS_execveat, AT_FDCWD, path, argv, envp, 0);
	report = -errno;
	if (write(pipe_fd, &report, sizeof(report)) != sizeof(report))
		_exit(125);
	_exit(126);
}

long softsgx_take_fd(pid_t pid, int number)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0), fd;

	if (pidfd < 0)
		return -errno;
	fd = syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (fd < 0)
		fd = -errno;
	close(pidfd);
	return fd;
}

pid_t softsgx_first_process;

void softsgx_adopt(pid_t pid)
{
	softsgx_first_process = pid;
}

/* Start the program; listener[0] becomes the filter's listener, listener[1] a pipe on
 * which an execve that failed reports its errno.  Returns the pid. */
long softsgx_launch(const char *path, char *const argv[], char *const envp[],
		    int *listener)
{
	pid_t parent = getpid(), pid;
	int report, fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		child(path, argv, envp, fds[1], parent);
	softsgx_first_process = pid;
	close(fds[1]);
	if (pid < 0 || read(fds[0], &report, sizeof(report)) != sizeof(report)) {
		close(fds[0]);
		return -ECHILD;
	}
	listener[0] = report < 0 ? report : softsgx_take_fd(pid, report);
	listener[1] = fds[0];
	if (listener[0] < 0) {
		kill(pid, SIGKILL);
		return listener[0];
	}
	return pid;
}
