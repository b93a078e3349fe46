/* A timer every 200 us disturbs neither computing nor system calls. */
#include "check.h"
#include <fcntl.h>
#include <sys/time.h>

static volatile int ticks;

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	ticks++;
}

static unsigned long compute(int zero)
{
	unsigned long sum = 1;

	for (int i = 0; i < 200000; i++) {
		sum = sum * 6364136223846793005ul + 1442695040888963407ul;
		if (i % 1000 == 0) {
			char bytes[8] = "x";

			CHECK(read(zero, bytes, 8) == 8 && bytes[0] == 0);
		}
	}
	return sum;
}

int main(void)
{
	struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { 0 };
	int zero = open("/dev/zero", O_RDONLY);
	unsigned long calm = compute(zero);

	catch_signal(SIGALRM, handler, SA_RESTART);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	while (ticks < 500)
		CHECK(compute(zero) == calm);
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	return 0;
}
