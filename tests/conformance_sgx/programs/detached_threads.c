/* Threads of a process with an enclave that end by themselves, unmapping their own
 * stacks, some of them after a visit.
 *
 * link: all
 */
#include "host.h"

#define THREADS_EACH 40

static struct enclave e;
static volatile int done;

static void *work(void *argument)
{
	uint64_t n = (uint64_t)argument;

	if (n % 2)
		vdso_ask(host_tcs(&e, (unsigned int)n % 4), DO_NOTHING, 0, 0, 0);
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

int main(void)
{
	pthread_attr_t detached;
	pthread_t thread;

	e = host_load("3");
	CHECK(pthread_attr_init(&detached) == 0);
	CHECK(pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED) == 0);
	for (uint64_t n = 0; n < THREADS_EACH; n++) {
		CHECK(!pthread_create(&thread, &detached, work, (void *)n));
		while (done <= (int)n)
			usleep(100);
	}
	usleep(20000);
	vdso_ask(host_tcs(&e, 0), DO_NOTHING, 0, 0, 0);
	return 0;
}
