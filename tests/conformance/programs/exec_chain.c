/* Forty programs, each replacing the one before, with a signal pending all the way. */
#include "check.h"

int main(int argc, char **argv)
{
	int left = argc > 1 ? atoi(argv[1]) : 40;
	char next[16];
	sigset_t one, pending;

	sigemptyset(&one);
	sigaddset(&one, SIGILL);
	if (argc == 1) {
		CHECK(sigprocmask(SIG_BLOCK, &one, NULL) == 0);
		CHECK(signal(SIGUSR2, SIG_IGN) != SIG_ERR);
		CHECK(kill(getpid(), SIGILL) == 0);
	}
	CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGILL) == 1);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &pending) == 0);
	CHECK(sigismember(&pending, SIGILL) == 1);
	CHECK(raise(SIGUSR2) == 0);
	if (left == 0)
		return 0;
	snprintf(next, sizeof(next), "%d", left - 1);
	execl("/proc/self/exe", "chain", next, (char *)NULL);
	return 1;
}
