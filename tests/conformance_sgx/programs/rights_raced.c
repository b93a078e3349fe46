/* A page loses its rights just as threads inside meet page faults there: when mprotect has
 * returned nobody has a right any more that it took, whatever was under way.
 */
#include "host.h"

#define ROUNDS 150
#define WRITERS 3

static struct enclave e;
static uint64_t page;
static volatile int over;
static unsigned int era; /* odd while nobody may write to the page */

static unsigned int now(void)
{
	return __atomic_load_n(&era, __ATOMIC_SEQ_CST);
}

static void *write_on(void *argument)
{
	uint64_t tcs = host_tcs(&e, (unsigned int)(uint64_t)argument), faults = 0;
	struct op op = { .what = DO_WRITE, .address = page + (uint64_t)argument };
	struct sgx_enclave_run run;
	uint32_t function = EENTER;
	unsigned int before;

	while (!over || function == ERESUME) {
		before = now();
		CHECK(vdso_call(tcs, function, &op, &run) == 0);
		if (before & 1 && now() == before)
			CHECK(run.function == ERESUME);
		if (run.function == ERESUME) {
			CHECK(run.exception_vector == PF);
			faults++;
		}
		function = run.function == ERESUME ? ERESUME : EENTER;
	}
	return (void *)faults;
}

static void rights(int prot)
{
	CHECK(mprotect((void *)page, PAGE, prot) == 0);
}

int main(void)
{
	pthread_t threads[WRITERS];
	uint64_t met = 0;
	void *faults;

	e = host_load("3");
	page = vdso_ask(host_tcs(&e, WRITERS), DO_AREA, 0, 0, 0) + AREA_GS;
	for (uint64_t i = 0; i < WRITERS; i++)
		CHECK(!pthread_create(&threads[i], NULL, write_on, (void *)i));
	for (int round = 0; round < ROUNDS; round++) {
		rights(PROT_NONE);
		__atomic_add_fetch(&era, 1, __ATOMIC_SEQ_CST);
		usleep(500);
		__atomic_add_fetch(&era, 1, __ATOMIC_SEQ_CST);
		rights(PROT_READ | PROT_WRITE);
		usleep((useconds_t)(round % 3) * 100);
	}
	over = 1;
	for (int i = 0; i < WRITERS; i++) {
		CHECK(!pthread_join(threads[i], &faults));
		met += (uint64_t)faults;
	}
	CHECK(met > 0);
	return 0;
}
