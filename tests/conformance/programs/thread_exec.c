/* exec from a thread that is not the leader keeps the process id. */
#include "check.h"
#include <pthread.h>

static char expected[32];

static void *sleeps(void *argument)
{
	(void)argument;
	pause();
	return NULL;
}

static void *replaces(void *argument)
{
	(void)argument;
	CHECK((pid_t)syscall(SYS_gettid) != getpid());
	execl("/proc/self/exe", "replaced", expected, (char *)NULL);
	CHECK(!"exec failed");
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t other;

	if (argc > 1) {
		CHECK(atoi(argv[1]) == getpid());
		CHECK((pid_t)syscall(SYS_gettid) == getpid());
		return 0;
	}
	snprintf(expected, sizeof(expected), "%d", (int)getpid());
	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&other, NULL, sleeps, NULL) == 0);
	CHECK(pthread_create(&other, NULL, replaces, NULL) == 0);
	pause();
	return 1;
}
