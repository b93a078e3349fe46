/* Pages of code leave the EPC while threads trap in them: what an instruction raised is
 * judged by that instruction, wherever its page is by then.
 *
 * Meant for an EPC of 1 MiB; with a larger one it passes too.
 */
#include "host.h"

#include <time.h>

#define UD 6
#define RW (SECINFO_R | SECINFO_W)
#define FRESH (SECINFO_REG | RW | SECINFO_PENDING)
#define GPRSGX_RIP 136
#define PAGES 400ul
#define LASTS_MS 1500
#define STUBS 29
#define CPUIDS 5

static struct enclave e;
static volatile int over;

static uint64_t now_ms(void)
{
	struct timespec now;

	CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t page(uint64_t n)
{
	return e.base + SPARE + n * PAGE;
}

/* Each call's end is an ENCLU. */
static void *come_and_go(void *argument)
{
	uint64_t tcs = host_tcs(&e, (unsigned int)(uint64_t)argument);

	while (!over)
		vdso_ask(tcs, DO_NOTHING, 0, 0, 0);
	return NULL;
}

static void undefined_once(uint64_t tcs, uint64_t n)
{
	struct op op = { .what = DO_FORBIDDEN, .value = n, .result = 2 };
	struct op frame = { .what = DO_FRAME }, skip = { .what = DO_SKIP };
	struct sgx_enclave_run run;
	struct stub stub;

	CHECK(vdso_call(tcs, EENTER, &op, &run) == 0);
	if (run.exception_vector != UD)
		fprintf(stderr, "instruction %d: function %u, vector %u\n", (int)n,
			run.function, run.exception_vector);
	CHECK(run.function == ERESUME && run.exception_vector == UD);
	vdso_do(tcs, &frame);
	memcpy(&stub, op.data, sizeof(stub));
	CHECK(memcmp(frame.data + GPRSGX_RIP, &stub.address, sizeof(stub.address)) == 0);
	skip.value = stub.size;
	vdso_do(tcs, &skip);
	CHECK(vdso_call(tcs, ERESUME, &op, &run) == 0);
	CHECK(run.function == EEXIT && op.result == 0);
}

static void *undefined(void *argument)
{
	uint64_t tcs = host_tcs(&e, (unsigned int)(uint64_t)argument);

	for (uint64_t n = 0; !over; n++)
		undefined_once(tcs, n % STUBS);
	return NULL;
}

static void *cpuid(void *argument)
{
	uint64_t tcs = host_tcs(&e, (unsigned int)(uint64_t)argument);

	while (!over) {
		struct op op = { .what = DO_CPUID, .value = CPUIDS };
		struct op handle = { .what = DO_EMULATE };
		struct sgx_enclave_run run;

		CHECK(vdso_call(tcs, EENTER, &op, &run) == 0);
		for (int n = 0; n < CPUIDS; n++) {
			CHECK(run.function == ERESUME && run.exception_vector == UD);
			vdso_do(tcs, &handle);
			CHECK(handle.result == 1);
			CHECK(vdso_call(tcs, ERESUME, &op, &run) == 0);
		}
		CHECK(run.function == EEXIT);
	}
	return NULL;
}

int main(void)
{
	void *(*const bodies[])(void *) = { come_and_go, undefined, cpuid };
	pthread_t threads[3];
	uint64_t end;

	e = host_load("3");
	CHECK(mmap((void *)page(0), PAGES * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) == (void *)page(0));
	for (uint64_t n = 0; n < PAGES; n++)
		CHECK(vdso_ask(host_tcs(&e, 3), DO_ENCLU, page(n), EACCEPT, FRESH) == 0);
	for (uint64_t i = 0; i < 3; i++)
		CHECK(!pthread_create(&threads[i], NULL, bodies[i], (void *)i));
	end = now_ms() + LASTS_MS;
	for (uint64_t n = 0; now_ms() < end; n++)
		CHECK(vdso_ask(host_tcs(&e, 3), DO_LOAD, page(n * 47 % PAGES), 0, 0) == 0);
	over = 1;
	for (int i = 0; i < 3; i++)
		CHECK(!pthread_join(threads[i], NULL));
	return 0;
}
