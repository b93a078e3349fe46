/* A timer whose signal is ignored goes on through forty execs and disturbs none. */
#include "check.h"
#include <sys/time.h>

int main(int argc, char **argv)
{
	struct itimerval often = { { 0, 200 }, { 0, 200 } }, now;
	int left = argc > 1 ? atoi(argv[1]) : 40;
	struct sigaction action;
	char next[16];

	if (argc == 1) {
		CHECK(signal(SIGALRM, SIG_IGN) != SIG_ERR);
		CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	}
	CHECK(getitimer(ITIMER_REAL, &now) == 0 && now.it_interval.tv_usec == 200);
	CHECK(sigaction(SIGALRM, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
	if (left == 0)
		return 0;
	snprintf(next, sizeof(next), "%d", left - 1);
	execl("/proc/self/exe", "storm", next, (char *)NULL);
	return 1;
}
