/* Host code that looks at an enclave with many pages in use sees ones, also after hundreds
 * of short calls in quick succession: what a call does not touch does not matter.
 */
#include "host.h"

#define PAGES 512ul /* all that may be spare */
#define CALLS 300

static struct enclave e;

static uint64_t page(uint64_t n)
{
	return host_spare(&e, n);
}

int main(void)
{
	struct inside other = { .op = { .what = DO_SPIN } };
	uint64_t tcs;

	e = host_load("3");
	tcs = host_tcs(&e, 0);
	other.tcs = host_tcs(&e, 1);
	inside_start(&other); /* it is all in use at once */
	host_fill(&e, tcs, PAGES);
	other.op.stop = 1;
	inside_wait(&other);
	for (int i = 0; i < CALLS; i++)
		vdso_ask(tcs, DO_NOTHING, 0, 0, 0);
	for (uint64_t n = 0; n < PAGES; n++)
		CHECK(*(volatile uint64_t *)page(n) == ~0ull);
	for (uint64_t n = 0; n < PAGES; n++)
		CHECK(vdso_ask(tcs, DO_LOAD, page(n), 0, 0) == n + 1);
	return 0;
}
