/* The clocks of the C library agree with those of the kernel, and run forward. */
#include "check.h"
#include <sys/time.h>
#include <time.h>

static long long ns(const struct timespec *t)
{
	return t->tv_sec * 1000000000ll + t->tv_nsec;
}

static void agrees(clockid_t id)
{
	struct timespec before, library, after;

	for (int i = 0; i < 200; i++) {
		CHECK(syscall(SYS_clock_gettime, id, &before) == 0);
		CHECK(clock_gettime(id, &library) == 0);
		CHECK(syscall(SYS_clock_gettime, id, &after) == 0);
		CHECK(ns(&before) <= ns(&library) && ns(&library) <= ns(&after));
	}
}

int main(void)
{
	struct timespec resolution;
	struct timeval day;
	unsigned cpu, node;

	agrees(CLOCK_MONOTONIC);
	agrees(CLOCK_REALTIME);
	agrees(CLOCK_BOOTTIME);
	agrees(CLOCK_MONOTONIC_RAW);
	agrees(CLOCK_PROCESS_CPUTIME_ID);
	CHECK(clock_getres(CLOCK_MONOTONIC, &resolution) == 0);
	CHECK(gettimeofday(&day, NULL) == 0 && labs(day.tv_sec - time(NULL)) <= 1);
	CHECK(syscall(SYS_getcpu, &cpu, &node, NULL) == 0);
	CHECK_FAILS(clock_gettime(1000, &resolution), EINVAL);
	CHECK_FAILS(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, (void *)8), EFAULT);
	return 0;
}
