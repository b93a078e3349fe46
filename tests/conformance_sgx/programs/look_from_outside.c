/* Host code that looks at an enclave sees ones, and the enclave keeps its bytes, whether
 * the EPC holds all of its pages or not.
 */
#include "host.h"

#define RW (SECINFO_R | SECINFO_W)
#define FRESH (SECINFO_REG | RW | SECINFO_PENDING)
#define PAGES 300ul

static struct enclave e;

static uint64_t page(uint64_t n)
{
	return e.base + SPARE + n * PAGE;
}

/* Where closing an enclave to the host takes time, it may wait for calls to be rare. */
static void look(void)
{
	for (int tries = 0; tries < 200 && *(volatile uint64_t *)page(0) != ~0ull; tries++) {
		usleep(50000);
		vdso_ask(host_tcs(&e, 0), DO_NOTHING, 0, 0, 0);
	}
	for (uint64_t n = 0; n < PAGES; n += 7)
		CHECK(*(volatile uint64_t *)page(n) == ~0ull);
}

int main(void)
{
	uint64_t tcs;

	e = host_load("3");
	tcs = host_tcs(&e, 0);
	CHECK(mmap((void *)page(0), PAGES * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) == (void *)page(0));
	for (uint64_t n = 0; n < PAGES; n++) {
		struct op op = { .what = DO_ENCLU, .address = page(n), .value = EACCEPT,
				 .size = FRESH };

		vdso_do(tcs, &op);
		CHECK(op.result == 0);
		vdso_ask(tcs, DO_STORE, page(n), n + 1, 0);
	}
	for (int round = 0; round < 2; round++) {
		look();
		for (uint64_t n = 0; n < PAGES; n++)
			CHECK(vdso_ask(tcs, DO_LOAD, page(n), 0, 0) == n + 1);
	}
	return 0;
}
