/* Faults of the program's own and a fast timer at once: neither gets lost. */
#include "check.h"
#include <sys/time.h>

static volatile int ticks, faults;

static void tick(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	ticks++;
}

static void fault(int signo, siginfo_t *info, void *context)
{
	(void)info;
	CHECK(signo == SIGILL);
	faults++;
	GREG(context, RIP) += 2;
}

int main(void)
{
	struct itimerval often = { { 0, 100 }, { 0, 100 } }, never = { 0 };

	catch_signal(SIGALRM, tick, SA_RESTART);
	catch_signal(SIGILL, fault, 0);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	for (int i = 0; i < 20000 || ticks < 20; i++) {
		int before = faults;

		__asm__ volatile("ud2" : : : "memory");
		CHECK(faults == before + 1);
	}
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	return 0;
}
