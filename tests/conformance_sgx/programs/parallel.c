/* Threads are in an enclave at the same time: each waits inside for all the others.
 *
 * link: all
 */
#include "host.h"

#define MOST 16
#define ROUNDS 5

static struct enclave e;
static volatile uint64_t met;
static uint64_t number;

static void *meet(void *argument)
{
	uint64_t tcs = host_tcs(&e, (unsigned int)(uint64_t)argument);

	for (int round = 1; round <= ROUNDS; round++)
		vdso_ask(tcs, DO_MEET, (uint64_t)&met, number * (uint64_t)round, 0);
	return NULL;
}

int main(void)
{
	pthread_t threads[MOST];

	e = host_load("3");
	for (number = 2; number <= MOST; number *= 2) {
		met = 0;
		for (uint64_t i = 0; i < number; i++)
			CHECK(!pthread_create(&threads[i], NULL, meet, (void *)i));
		for (uint64_t i = 0; i < number; i++)
			CHECK(!pthread_join(threads[i], NULL));
		CHECK(met == number * ROUNDS);
	}
	return 0;
}
