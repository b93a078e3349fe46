/* SA_NODEFER, SA_RESETHAND, SA_RESTART and sa_mask do what they say. */
#include "check.h"
#include <sys/time.h>

static volatile int depth, deepest, runs, alarms;
static int pipe_ends[2];

static void nests(int signo, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	depth++;
	if (depth > deepest)
		deepest = depth;
	if (++runs < 3)
		raise(signo);
	depth--;
}

static void feeds(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	alarms++;
	CHECK(write(pipe_ends[1], "x", 1) == 1);
}

static void arm(void)
{
	struct itimerval soon = { .it_value = { 0, 30000 } };

	CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
}

static void once(int signo)
{
	struct sigaction now;

	/* Without SA_NODEFER the inner ones wait, and come one after another. */
	runs = deepest = 0;
	catch_signal(signo, nests, 0);
	raise(signo);
	CHECK(runs == 3 && deepest == 1);
	runs = deepest = 0;
	catch_signal(signo, nests, SA_NODEFER);
	raise(signo);
	CHECK(runs == 3 && deepest == 3);
	runs = 2;
	catch_signal(signo, nests, SA_RESETHAND);
	raise(signo);
	CHECK(runs == 3);
	CHECK(sigaction(signo, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
}

int main(void)
{
	static const int signals[] = { SIGUSR1, SIGSEGV, SIGSYS, SIGILL, SIGTRAP };
	char byte;

	for (int i = 0; i < 5; i++)
		once(signals[i]);
	CHECK(pipe(pipe_ends) == 0);
	catch_signal(SIGALRM, feeds, SA_RESTART);
	arm();
	CHECK(read(pipe_ends[0], &byte, 1) == 1 && alarms == 1);
	catch_signal(SIGALRM, feeds, 0);
	arm();
	while (read(pipe_ends[0], &byte, 1) == 1)
		arm();	/* the alarm came before the call */
	CHECK(errno == EINTR && alarms >= 2);
	return 0;
}
