/* However often an enclave was called: a while later, it is hidden again. */
#include "host.h"

#define CALLS 2500

int main(void)
{
	struct enclave e = host_load("3");
	uint64_t mine = vdso_ask(host_tcs(&e, 0), DO_AREA, 0, 0, 0) + 0x1000;

	for (int i = 0; i < CALLS; i++)
		vdso_ask(host_tcs(&e, 0), DO_NOTHING, 0, 0, 0);
	for (int i = 0; i < 5; i++) {
		usleep(30000);
		vdso_ask(host_tcs(&e, 0), DO_STORE, mine, 7, 0);
		CHECK(*(volatile uint64_t *)mine == ~0ull);
		CHECK(vdso_ask(host_tcs(&e, 0), DO_LOAD, mine, 0, 0) == 7);
	}
	return 0;
}
