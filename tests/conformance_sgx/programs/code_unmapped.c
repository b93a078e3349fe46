/* Code of an enclave is taken away and given back while threads execute it: each of them
 * meets page faults and nothing else.
 */
#include "host.h"

#define ROUNDS 300

static struct enclave e;
static volatile int over;

static void *come_and_go(void *argument)
{
	uint64_t tcs = host_tcs(&e, (unsigned int)(uint64_t)argument), faults = 0;
	struct op op = { .what = DO_NOTHING };
	struct sgx_enclave_run run;

	while (!over) {
		CHECK(vdso_call(tcs, EENTER, &op, &run) == 0);
		for (; run.function == ERESUME; faults++) {
			if (run.exception_vector != PF)
				fprintf(stderr, "vector %u\n", run.exception_vector);
			CHECK(run.exception_vector == PF);
			CHECK(vdso_call(tcs, ERESUME, &op, &run) == 0);
		}
		CHECK(run.function == EEXIT);
	}
	return (void *)faults;
}

int main(void)
{
	const int prot = PROT_READ | PROT_EXEC;
	pthread_t threads[2];
	uint64_t met = 0;
	void *code, *faults;

	e = host_load("3");
	code = (void *)(vdso_ask(host_tcs(&e, 0), DO_ENTRY, 0, 0, 0) & -(uint64_t)PAGE);
	for (uint64_t i = 0; i < 2; i++)
		CHECK(!pthread_create(&threads[i], NULL, come_and_go, (void *)i));
	for (int round = 0; round < ROUNDS; round++) {
		CHECK(!mprotect(code, PAGE, PROT_NONE));
		CHECK(!mprotect(code, PAGE, prot));
		CHECK(!munmap(code, PAGE));
		CHECK(mmap(code, PAGE, prot, MAP_SHARED | MAP_FIXED, e.fd, 0) == code);
	}
	over = 1;
	for (int i = 0; i < 2; i++) {
		CHECK(!pthread_join(threads[i], &faults));
		met += (uint64_t)faults;
	}
	CHECK(met > 0);
	return 0;
}
