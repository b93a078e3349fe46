/* Pages are mapped again over what is mapped, while threads inside read them and others
 * leave the EPC: each read finds what was stored.
 *
 * Meant for an EPC of 1 MiB; with a larger one it passes too.
 */
#include "host.h"

#include <time.h>

#define RW (SECINFO_R | SECINFO_W)
#define FRESH (SECINFO_REG | RW | SECINFO_PENDING)
#define PAGES 400ul
#define WATCHED 2
#define LASTS_MS 1000

static struct enclave e;
static volatile int over;

static uint64_t page(uint64_t n)
{
	return e.base + SPARE + n * PAGE;
}

static uint64_t value(uint64_t n)
{
	return 0x123456789a000000 + n;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void map(uint64_t count)
{
	CHECK(mmap((void *)page(0), count * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) == (void *)page(0));
}

static void *walk(void *argument)
{
	(void)argument;
	for (uint64_t n = 0; !over; n = (n + 47) % PAGES)
		CHECK(vdso_ask(host_tcs(&e, 5), DO_LOAD, page(n), 0, 0) == value(n));
	return NULL;
}

int main(void)
{
	struct inside in[WATCHED];
	pthread_t walker;
	uint64_t end;

	e = host_load("3");
	map(PAGES);
	for (uint64_t n = 0; n < PAGES; n++) {
		CHECK(vdso_ask(host_tcs(&e, 5), DO_ENCLU, page(n), EACCEPT, FRESH) == 0);
		vdso_ask(host_tcs(&e, 5), DO_STORE, page(n), value(n), 0);
	}
	for (unsigned int i = 0; i < WATCHED; i++) {
		in[i] = (struct inside){
			.tcs = host_tcs(&e, i),
			.op = { .what = DO_WATCH, .address = page(i), .value = value(i) },
		};
		inside_start(&in[i]);
	}
	CHECK(!pthread_create(&walker, NULL, walk, NULL));
	for (end = now_ms() + LASTS_MS; now_ms() < end;)
		map(PAGES / 8);
	over = 1;
	CHECK(!pthread_join(walker, NULL));
	for (unsigned int i = 0; i < WATCHED; i++) {
		inside_wait(&in[i]);
		CHECK(in[i].op.result == value(i));
	}
	return 0;
}
