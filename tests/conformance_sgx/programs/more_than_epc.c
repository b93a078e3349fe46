/* An enclave's pages keep their bytes, whether the EPC holds all of them or not.  Threads
 * inside read and write pages of their own all over it, while a timer makes them leave.
 *
 * Meant for an EPC of 1 MiB; with a larger one it passes too.
 */
#include "host.h"

#define RW (SECINFO_R | SECINFO_W)
#define FRESH (SECINFO_REG | RW | SECINFO_PENDING)
#define PAGES 480ul
#define THREADS_INSIDE 4ul
#define ROUNDS 3

static struct enclave e;
static volatile uint64_t ticks;

static uint64_t page(uint64_t n)
{
	return e.base + SPARE + n * PAGE;
}

static uint64_t value(uint64_t n, uint64_t round)
{
	return (n << 32 | round) * 0x9e3779b97f4a7c15ull;
}

static void make_pages(void)
{
	CHECK(mmap((void *)page(0), PAGES * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) == (void *)page(0));
	for (uint64_t n = 0; n < PAGES; n++) {
		struct op op = { .what = DO_ENCLU, .address = page(n), .value = EACCEPT,
				 .size = FRESH };

		vdso_do(host_tcs(&e, 0), &op);
		CHECK(op.result == 0);
	}
}

/* Its pages are every fourth one; the order leaps about. */
static void *use(void *argument)
{
	uint64_t first = (uint64_t)argument, tcs = host_tcs(&e, (unsigned int)first);
	uint64_t count = PAGES / THREADS_INSIDE;

	for (uint64_t round = 0; round < ROUNDS; round++) {
		for (uint64_t i = 0; i < count; i++) {
			uint64_t n = i * 47 % count * THREADS_INSIDE + first;
			uint64_t at = page(n) + n * 8 % PAGE;
			uint64_t want = round ? value(n, round - 1) : 0;

			CHECK(vdso_ask(tcs, DO_LOAD, at, 0, 0) == want);
			vdso_ask(tcs, DO_STORE, at, value(n, round), 0);
		}
	}
	return NULL;
}

static void tick(int signo)
{
	(void)signo;
	ticks++;
}

int main(void)
{
	struct itimerval often = { { 0, 2000 }, { 0, 2000 } };
	pthread_t threads[THREADS_INSIDE];

	e = host_load("3");
	make_pages();
	CHECK(signal(SIGALRM, tick) != SIG_ERR);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	for (uint64_t i = 0; i < THREADS_INSIDE; i++)
		CHECK(!pthread_create(&threads[i], NULL, use, (void *)i));
	for (uint64_t i = 0; i < THREADS_INSIDE; i++)
		CHECK(!pthread_join(threads[i], NULL));
	for (uint64_t n = 0; n < PAGES; n++)
		CHECK(vdso_ask(host_tcs(&e, 5), DO_LOAD, page(n) + n * 8 % PAGE, 0, 0) ==
		      value(n, ROUNDS - 1));
	CHECK(ticks);
	return 0;
}
