/* A process that may map no more: what its host code reads of an enclave is ones all the
 * same, what it writes is lost, and calls go on.
 *
 * link: all
 */
#include "host.h"

#include <sys/resource.h>

static struct enclave e;

/* Host code at a word that the enclave has, and at its TCS; again and again. */
static void look(uint64_t word, uint64_t value)
{
	volatile uint64_t *page = (uint64_t *)word, *tcs = (uint64_t *)host_tcs(&e, 0);

	for (int n = 0; n < 40; n++) {
		CHECK(*page == ~0ul && *tcs == ~0ul);
		*page = *tcs = n;
		CHECK(*page == ~0ul && *tcs == ~0ul);
	}
	memset((void *)page, 1, 64);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_LOAD, word, 0, 0) == value);
	vdso_ask(host_tcs(&e, 0), DO_STORE, word, value + 1, 0);
}

int main(void)
{
	struct rlimit limit = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY };
	uint64_t area;

	CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
	e = host_load("3");
	area = vdso_ask(host_tcs(&e, 0), DO_AREA, 0, 0, 0);
	area += 2 * PAGE;
	vdso_ask(host_tcs(&e, 0), DO_STORE, area, 7, 0);
	limit.rlim_cur = 0;
	CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	look(area, 7);
	limit.rlim_cur = limit.rlim_max;
	CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	look(area, 8);
	return 0;
}
