/* A program that traces its own child, as a debugger does. */
#include "check.h"
#include <sys/ptrace.h>
#include <sys/user.h>

int main(void)
{
	struct user_regs_struct registers;
	int status, calls = 0;
	pid_t child;

	child = fork();
	if (child == 0) {
		CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
		raise(SIGSTOP);
		_exit(getppid() > 0 ? 9 : 1);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
	CHECK(ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD) == 0);
	for (;;) {
		CHECK(ptrace(PTRACE_SYSCALL, child, 0, 0) == 0);
		CHECK(waitpid(child, &status, 0) == child);
		if (!WIFSTOPPED(status))
			break;
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		CHECK(ptrace(PTRACE_GETREGS, child, 0, &registers) == 0);
		calls += registers.orig_rax == SYS_getppid;
	}
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9);
	CHECK(calls == 2);
	return 0;
}
