/* SPDX-License-Identifier: Apache-2.0 */
/* Signals, threads, processes, and what a process may do to itself. */
#include "fuzz.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static const int harmless[] = { SIGUSR1, SIGUSR2, SIGSEGV, SIGILL, SIGTRAP,
				SIGBUS,	 SIGFPE,  SIGSYS,  SIGURG, SIGWINCH };

static int any_signal(void)
{
	return harmless[roll(sizeof(harmless) / sizeof(harmless[0]))];
}

/* To itself, with a siginfo that only the kernel would write. */
void act_raise(void)
{
	siginfo_t info;

	if (roll(2)) {
		raise(any_signal());
		return;
	}
	memset(&info, (int)roll(256), sizeof(info));
	info.si_signo = any_signal();
	info.si_code = (int)roll(10) - 3;
	if (roll(2))
		info.si_addr = (void *)value();
	syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), info.si_signo, &info);
}

void act_masks(void)
{
	sigset_t set;

	memset(&set, 0, sizeof(set));
	for (int i = (int)roll(4); i; i--)
		sigaddset(&set, any_signal());
	sigprocmask((int)roll(3), &set, NULL);
}

/* A stack that two threads have breaks the agent as it breaks any handler. */
void act_stack(void)
{
	static __thread uint8_t own[16 * PAGE];
	bool wild = victim.forges && roll(2);
	stack_t stack = { .ss_sp = wild ? (void *)value() : own,
			  .ss_size = roll(2) ? sizeof(own) : roll(sizeof(own)),
			  .ss_flags = roll(3) ? 0 : SS_DISABLE };

	sigaltstack(&stack, NULL);
}

void act_timer(void)
{
	struct itimerval soon = { .it_value.tv_usec = 1 + (long)roll(3000) };

	setitimer(ITIMER_PROF, &soon, NULL);
	for (int i = 0; i < 20; i++)
		act_vdso();
}

/* ---- threads and processes ---- */

static void *short_life(void *number)
{
	thread_begin((uint64_t)number);
	act_often((unsigned int)roll(6));
	if (roll(2))
		syscall(SYS_exit, 0);
	return NULL;
}

void act_thread(void)
{
	pthread_attr_t detached;
	pthread_t thread;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	pthread_create(&thread, &detached, short_life, (void *)roll(1ul << 40));
}

void act_fork(void)
{
	uint64_t number = roll(1ul << 40);
	/* fork() itself waits for locks that a jump out of a handler left taken. */
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(3);
		thread_begin(number);
		act_often(10);
		_exit(0);
	}
	if (pid > 0 && roll(3) == 0)
		kill(pid, SIGKILL);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

void act_exec(void)
{
	pid_t pid = vfork();

	if (pid == 0) {
		close(2); /* what the loader says when limits are low */
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* ---- what a process may take from itself ---- */

void act_limits(void)
{
	static const int which[] = { RLIMIT_NOFILE, RLIMIT_SIGPENDING, RLIMIT_MEMLOCK,
				     RLIMIT_AS };
	struct rlimit limit;
	int resource = which[roll(4)];

	if (getrlimit(resource, &limit))
		return;
	limit.rlim_cur = roll(30) ? limit.rlim_max : roll(40);
	setrlimit(resource, &limit);
	prctl(PR_SET_DUMPABLE, roll(2), 0, 0, 0);
}

void act_filter(void)
{
	static const uint32_t ends[] = { SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_TRAP,
					 SECCOMP_RET_LOG, SECCOMP_RET_ALLOW };
	static const uint32_t calls[] = { SYS_mmap,	SYS_mprotect,	   SYS_ioctl,
					  SYS_openat,	SYS_rt_sigaction,  SYS_munmap,
					  SYS_rt_tgsigqueueinfo, CALL_NR, SYS_gettid };
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[roll(9)], 0, 1),
		BPF_STMT(BPF_RET | BPF_K, ends[roll(4)]),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, code };

	if (roll(8))
		return;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		roll(2) ? SECCOMP_FILTER_FLAG_TSYNC : 0, &program);
}
