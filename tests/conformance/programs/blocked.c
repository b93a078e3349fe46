/* Blocked signals stay pending, are seen by sigpending, and come when unblocked. */
#include "check.h"
#include <time.h>

static const int signals[] = { SIGUSR1, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGBUS, SIGFPE };
#define COUNT (int)(sizeof(signals) / sizeof(signals[0]))
static volatile int seen[65];

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)context;
	CHECK(info->si_code <= 0 && info->si_pid == getpid());
	seen[signo]++;
}

static void pends_then_comes(int signo)
{
	sigset_t one, pending, now;
	int before = seen[signo];

	sigemptyset(&one);
	sigaddset(&one, signo);
	CHECK(sigprocmask(SIG_BLOCK, &one, NULL) == 0);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0 && sigismember(&now, signo) == 1);
	CHECK(kill(getpid(), signo) == 0 && kill(getpid(), signo) == 0);
	CHECK(seen[signo] == before);
	CHECK(sigpending(&pending) == 0 && sigismember(&pending, signo) == 1);
	CHECK(sigprocmask(SIG_UNBLOCK, &one, NULL) == 0);
	CHECK(seen[signo] == before + 1);
	CHECK(sigpending(&pending) == 0 && sigismember(&pending, signo) == 0);
}

static void is_taken_by_sigtimedwait(int signo)
{
	struct timespec short_time = { 0, 20000000 };
	sigset_t one;
	siginfo_t info;
	int before = seen[signo];

	sigemptyset(&one);
	sigaddset(&one, signo);
	CHECK(sigprocmask(SIG_BLOCK, &one, NULL) == 0);
	CHECK_FAILS(sigtimedwait(&one, &info, &short_time), EAGAIN);
	CHECK(kill(getpid(), signo) == 0);
	CHECK(sigtimedwait(&one, &info, &short_time) == signo);
	CHECK(info.si_pid == getpid() && info.si_code == SI_USER);
	CHECK(sigprocmask(SIG_UNBLOCK, &one, NULL) == 0);
	CHECK(seen[signo] == before);
}

int main(void)
{
	for (int i = 0; i < COUNT; i++)
		catch_signal(signals[i], handler, 0);
	for (int i = 0; i < COUNT; i++) {
		pends_then_comes(signals[i]);
		is_taken_by_sigtimedwait(signals[i]);
	}
	return 0;
}
