/* CPUID inside an enclave, of a program that is debugged, is #UD as ever: its debugger may
 * see a SIGILL, and never a breakpoint, as it set none. */
#include "host.h"

#include <sys/ptrace.h>
#include <sys/wait.h>

#define TIMES 3

static struct enclave e;

static void on_ill(int signo, siginfo_t *info, void *context)
{
	struct op op = { .what = DO_EMULATE };

	CHECK(signo == SIGILL && info->si_addr == own_aep);
	check_synthetic(context, host_tcs(&e, 0), own_aep);
	vdso_do(host_tcs(&e, 0), &op);
	CHECK(op.result == 1);
}

static void child(const char *enclave)
{
	struct op op = { .what = DO_CPUID, .address = 7, .value = TIMES, .size = 2 };
	uint32_t *out = (uint32_t *)op.data;

	catch_signal(SIGILL, on_ill, 0);
	e = host_load(enclave);
	CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
	raise(SIGSTOP);
	CHECK(own_enter(&op, host_tcs(&e, 0)) == (uint64_t)own_aep);
	for (uint32_t n = 0; n < TIMES; n++, out += 4)
		CHECK(out[0] == 7 + n + 1 && out[1] == 4 && out[2] == 3 && out[3] == 4);
	_exit(7);
}

static void traced(const char *enclave)
{
	int status, sig = SIGSTOP;
	pid_t pid = fork();

	if (pid == 0)
		child(enclave);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	while (WIFSTOPPED(status)) {
		CHECK(WSTOPSIG(status) == sig);
		CHECK(ptrace(PTRACE_CONT, pid, 0, sig == SIGILL ? SIGILL : 0) == 0);
		CHECK(waitpid(pid, &status, 0) == pid);
		sig = SIGILL;
	}
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

int main(void)
{
	traced("debug");
	traced("3");
	return 0;
}
