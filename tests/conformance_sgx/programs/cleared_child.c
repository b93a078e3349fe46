/* A child of clone3 whose handlers are cleared, of a process with an enclave: it enters
 * that enclave and makes one of its own.
 *
 * link: all
 */
#include "host.h"

#include <linux/sched.h>

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ull
#endif

static struct enclave e;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	_exit(77);
}

static void child(void)
{
	struct op op = { .what = DO_NOTHING };
	struct sigaction action;
	struct enclave own;

	CHECK(sigaction(SIGUSR1, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_AREA, 0, 0, 0) > e.base);
	CHECK(own_enter(&op, host_tcs(&e, 1)) == (uint64_t)own_aep);
	own = host_load("3");
	CHECK(vdso_ask(host_tcs(&own, 0), DO_AREA, 0, 0, 0) > own.base);
	op.what = DO_UNDEFINED;
	own_enter(&op, host_tcs(&own, 0));
	_exit(1);
}

int main(void)
{
	struct clone_args args = { .flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD };
	int status = -1;
	pid_t pid;

	catch_signal(SIGILL, on_fault, 0);
	catch_signal(SIGUSR1, on_fault, 0);
	e = host_load("3");
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	CHECK(pid >= 0);
	if (pid == 0)
		child();
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGILL);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_AREA, 0, 0, 0) > e.base);
	return 0;
}
