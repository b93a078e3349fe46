/* A child of clone3 whose handlers are cleared, of a process with an enclave: it enters
 * that enclave and makes one of its own.  A signal that comes meanwhile finds its thread in
 * the program.
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

static volatile int calling;

static void on_timer(int signo, siginfo_t *info, void *context)
{
	extern char __executable_start[], etext[];
	uint64_t at = (uint64_t)GREG(context, RIP) - (uint64_t)__executable_start;

	(void)signo, (void)info;
	CHECK(!calling || at < (uint64_t)(etext - __executable_start));
}

static long clone3(struct clone_args *args)
{
	long result = SYS_clone3;

	calling = 1;
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "mov $60, %%eax\n\t"
			 "xor %%edi, %%edi\n\t"
			 "syscall\n"
			 "1:"
			 : "+a"(result)
			 : "D"(args), "S"(sizeof(*args))
			 : "rcx", "r11", "memory");
	calling = 0;
	return result;
}

static void interrupted(void)
{
	const struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { 0 };
	struct clone_args args = { .exit_signal = SIGCHLD };
	int status;
	pid_t pid;

	catch_signal(SIGALRM, on_timer, SA_RESTART);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	for (int i = 0; i < 100; i++) {
		args.flags = i % 2 ? CLONE_CLEAR_SIGHAND : 0;
		pid = (pid_t)clone3(&args);
		CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	}
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
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
	interrupted();
	return 0;
}
