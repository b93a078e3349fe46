/* Fault signals that a process sends are not faults: default, ignored, own handler. */
#include "check.h"
#include <sys/resource.h>

static const int signals[] = { SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGBUS, SIGFPE };
#define COUNT (int)(sizeof(signals) / sizeof(signals[0]))
static int current;
static volatile int code, value, count;

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)context;
	CHECK(signo == current && info->si_pid == getpid());
	code = info->si_code;
	value = info->si_value.sival_int;
	count++;
}

static void by_default(void)
{
	signal(current, SIG_DFL);
	kill(getpid(), current);
}

static void by_default_tgkill(void)
{
	signal(current, SIG_DFL);
	syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), current);
}

static void ignored(void)
{
	signal(current, SIG_IGN);
	kill(getpid(), current);
	raise(current);
	_exit(9);
}

static void handled(void)
{
	union sigval sent = { .sival_int = 12345 };

	catch_signal(current, handler, 0);
	CHECK(kill(getpid(), current) == 0);
	CHECK(code == SI_USER && count == 1);
	CHECK(syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), current) == 0);
	CHECK(code == SI_TKILL && count == 2);
	CHECK(sigqueue(getpid(), current, sent) == 0);
	CHECK(code == SI_QUEUE && value == 12345 && count == 3);
	_exit(8);
}

int main(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	for (int i = 0; i < COUNT; i++) {
		int status;

		current = signals[i];
		status = status_of(by_default);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == current);
		status = status_of(by_default_tgkill);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == current);
		status = status_of(ignored);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9);
		status = status_of(handled);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 8);
	}
	return 0;
}
