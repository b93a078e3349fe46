/* sigsuspend, ppoll, pselect and epoll_pwait change the mask only while they wait. */
#include "check.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

static volatile int seen;

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	CHECK(signo == SIGUSR1);
	seen++;
}

static void still_blocked(int expected)
{
	sigset_t now, pending;

	CHECK(seen == expected);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0 && sigismember(&now, SIGUSR1));
	CHECK(raise(SIGUSR1) == 0);
	CHECK(seen == expected);
	CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1));
}

int main(void)
{
	struct timespec second = { 1, 0 };
	struct epoll_event event;
	sigset_t one, none;
	int epoll = epoll_create1(0);

	catch_signal(SIGUSR1, handler, 0);
	sigemptyset(&none);
	sigemptyset(&one);
	sigaddset(&one, SIGUSR1);
	CHECK(sigprocmask(SIG_BLOCK, &one, NULL) == 0);
	still_blocked(0);
	CHECK_FAILS(sigsuspend(&none), EINTR);
	still_blocked(1);
	CHECK_FAILS(ppoll(NULL, 0, &second, &none), EINTR);
	still_blocked(2);
	CHECK_FAILS(pselect(0, NULL, NULL, NULL, &second, &none), EINTR);
	still_blocked(3);
	CHECK_FAILS(epoll_pwait(epoll, &event, 1, 1000, &none), EINTR);
	still_blocked(4);
	return 0;
}
