/* A debugger's way to start a program: vfork, PTRACE_TRACEME, execve.  Between the two the
 * child must not stop, as nobody could let it go on. */
#include "check.h"
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>

static unsigned long user(pid_t pid, size_t offset)
{
	return ptrace(PTRACE_PEEKUSER, pid, offset, 0);
}

int main(int argc, char **argv)
{
	static char *words[] = {"traced", "x", NULL};
	siginfo_t info;
	sigset_t none;
	int status;
	pid_t pid;

	(void)argv;
	if (argc > 1)
		return getppid() > 0 ? 9 : 1;
	pid = vfork();
	if (pid == 0) {
		sigemptyset(&none);
		if (ptrace(PTRACE_TRACEME, 0, 0, 0) || sigprocmask(SIG_SETMASK, &none, NULL))
			_exit(2);
		execve("/proc/self/exe", words, environ);
		_exit(3);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP && status >> 16 == 0);
	CHECK(ptrace(PTRACE_GETSIGINFO, pid, 0, &info) == 0);
	CHECK(info.si_signo == SIGTRAP && info.si_code == SI_USER && info.si_pid == pid);
	/* At the first instruction, with nothing in the registers. */
	CHECK(user(pid, offsetof(struct user_regs_struct, rax)) == 0);
	CHECK(user(pid, offsetof(struct user_regs_struct, rdx)) == 0);
	CHECK(user(pid, offsetof(struct user_regs_struct, rsp)) % 16 == 0);
	CHECK(ptrace(PTRACE_CONT, pid, 0, 0) == 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9);
	return 0;
}
