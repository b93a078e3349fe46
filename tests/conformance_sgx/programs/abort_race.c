/* Threads go in and out of an enclave while another thread looks at it and writes where
 * none of them has anything, and children are made: what the enclave has stays its own,
 * and in the end, when nobody is inside, host code reads ones.
 *
 * link: all
 */
#include "host.h"

#define WORKERS 3
#define ROUNDS 150

static struct enclave e;
static uint64_t areas;
static volatile int working = WORKERS;

static void *work(void *argument)
{
	uint64_t n = (uint64_t)argument, tcs = host_tcs(&e, (unsigned int)n);
	uint64_t mine = areas + n * AREA + 0x1000;

	for (uint64_t i = 1; i <= ROUNDS; i++) {
		vdso_ask(tcs, DO_STORE, mine, n << 32 | i, 0);
		CHECK(vdso_ask(tcs, DO_LOAD, mine, 0, 0) == (n << 32 | i));
	}
	__atomic_sub_fetch(&working, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void child(void)
{
	/* None of its threads is inside. */
	CHECK(signal(SIGSEGV, SIG_IGN) == SIG_DFL);
	CHECK(*(volatile uint64_t *)(areas + 0x1000) == ~0ull);
	vdso_ask(host_tcs(&e, WORKERS + 1), DO_NOTHING, 0, 0, 0);
	_exit(3);
}

int main(void)
{
	static uint8_t copy[PAGE];
	pthread_t threads[WORKERS];
	uint64_t nobodys;

	e = host_load("3");
	areas = vdso_ask(host_tcs(&e, 0), DO_AREA, 0, 0, 0);
	nobodys = areas + (WORKERS + 2) * AREA + 0x1000;
	for (uint64_t i = 0; i < WORKERS; i++)
		CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
	for (unsigned int i = 0; working; i++) {
		memcpy(copy, (void *)(areas + i % WORKERS * AREA + 0x1000), PAGE);
		memset((void *)nobodys, 0x5a, 100);
		*(volatile uint64_t *)(nobodys + 8 * (i % 100)) = i;
		if (i % 64 == 0)
			CHECK(WEXITSTATUS(status_of(child)) == 3);
	}
	for (unsigned int i = 0; i < WORKERS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	/* However many calls there were: this one comes a good while later. */
	usleep(50000);
	for (uint64_t i = 0; i < WORKERS; i++) {
		uint64_t mine = areas + i * AREA + 0x1000;

		CHECK(vdso_ask(host_tcs(&e, 0), DO_LOAD, mine, 0, 0) == (i << 32 | ROUNDS));
		usleep(50000);
		CHECK(vdso_ask(host_tcs(&e, 0), DO_LOAD, mine, 0, 0) == (i << 32 | ROUNDS));
		CHECK(*(volatile uint64_t *)mine == ~0ull);
	}
	return 0;
}
