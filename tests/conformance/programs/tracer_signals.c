/* A tracer sees the signals of its tracee and no other: none for files, none for a step
 * over a system call. */
#include "check.h"
#include <fcntl.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>

extern char step_from[], step_call[], step_behind[];

static void child(void)
{
	long ret;

	CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
	kill(getpid(), SIGSTOP);
	for (int i = 0; i < 20; i++) {
		int fd = open("/dev/null", O_RDWR);

		CHECK(fd >= 0);
		close(fd);
	}
	raise(SIGUSR1);
	__asm__ volatile(".globl step_from, step_call, step_behind\n"
			 "step_from: nop\n"
			 "step_call: syscall\n"
			 "step_behind: nop\n"
			 : "=a"(ret)
			 : "0"(SYS_access), "D"("/dev/null"), "S"(0)
			 : "rcx", "r11", "memory");
	_exit(ret == 0 ? 9 : 1);
}

static unsigned long rip(pid_t pid)
{
	return ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), 0);
}

static int go_on(pid_t pid, int request)
{
	int status;

	CHECK(ptrace(request, pid, 0, 0) == 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

int main(void)
{
	pid_t pid = fork();
	int status;
	long word;

	if (pid == 0)
		child();
	CHECK(waitpid(pid, &status, 0) == pid && WSTOPSIG(status) == SIGSTOP);
	status = go_on(pid, PTRACE_CONT);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGUSR1);
	/* A breakpoint of the tracer's own. */
	word = ptrace(PTRACE_PEEKTEXT, pid, step_from, 0);
	CHECK(ptrace(PTRACE_POKETEXT, pid, step_from, (word & ~0xffl) | 0xcc) == 0);
	status = go_on(pid, PTRACE_CONT);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
	CHECK(rip(pid) == (unsigned long)step_call);
	CHECK(ptrace(PTRACE_POKETEXT, pid, step_from, word) == 0);
	status = go_on(pid, PTRACE_SINGLESTEP);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
	CHECK(rip(pid) == (unsigned long)step_behind);
	CHECK(ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rax), 0) == 0);
	status = go_on(pid, PTRACE_CONT);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9);
	return 0;
}
