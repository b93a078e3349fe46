/* RDTSC and RDTSCP work inside a processor's enclaves if it has SGX2; without, they are
 * #UD there, and work as ever outside.
 */
#include "host.h"

#include <cpuid.h>
#include <sys/prctl.h>
#include <x86intrin.h>

#define UD 6

static struct enclave e;

static int has_sgx2(void)
{
	uint32_t a, b, c, d;

	__cpuid_count(0x12, 0, a, b, c, d);
	return (int)(a >> 1 & 1);
}

static void undefined(struct op op)
{
	struct sgx_enclave_run run;
	uint64_t size = op.value ? 3 : 2;
	struct op ask = { .what = DO_SKIP, .value = size };

	CHECK(vdso_call(host_tcs(&e, 0), EENTER, &op, &run) == 0);
	for (int i = 0; i < 2; i++) {
		CHECK(run.function == ERESUME && run.exception_vector == UD);
		CHECK(run.exception_error_code == 0 && run.exception_addr == 0);
		CHECK(__rdtsc() != 0);
		vdso_do(host_tcs(&e, 0), &ask);
		CHECK(vdso_call(host_tcs(&e, 0), ERESUME, &op, &run) == 0);
	}
	CHECK(run.function == EEXIT);
}

static int refused;

static void on_segv(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGSEGV && info->si_code == SI_KERNEL);
	refused++;
	GREG(context, RIP) += 2;
}

static void *read_time(void *unused)
{
	CHECK(__rdtsc() != 0);
	return unused;
}

/* What a thread asks for itself is its own affair, with or without SGX2. */
static void wish(void)
{
	struct op op = { .what = DO_NOTHING };
	int mode;

	CHECK(prctl(PR_GET_TSC, &mode) == 0 && mode == PR_TSC_ENABLE);
	CHECK(prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0);
	vdso_do(host_tcs(&e, 0), &op);
	CHECK(prctl(PR_GET_TSC, &mode) == 0 && mode == PR_TSC_SIGSEGV);
	catch_signal(SIGSEGV, on_segv, 0);
	__rdtsc();
	CHECK(refused == 1);
	CHECK(prctl(PR_SET_TSC, PR_TSC_ENABLE) == 0);
	CHECK(__rdtsc() != 0 && refused == 1);
}

int main(void)
{
	struct op nothing = { .what = DO_NOTHING };
	pthread_t thread;
	uint64_t before;

	e = host_load("3");
	for (uint64_t n = 0; n < 2; n++) {
		struct op op = { .what = DO_TIME, .value = n };

		if (has_sgx2()) {
			vdso_do(host_tcs(&e, 0), &op);
			CHECK(op.result == 1);
		} else {
			undefined(op);
		}
	}
	before = __rdtsc();
	CHECK(__rdtsc() > before);
	vdso_do(host_tcs(&e, 0), &nothing);
	CHECK(pthread_create(&thread, NULL, read_time, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	wish();
	vdso_do(host_tcs(&e, 0), &nothing);
	CHECK(system("exit $((0))") == 0);
	return 0;
}
