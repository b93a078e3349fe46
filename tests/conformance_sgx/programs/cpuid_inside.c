/* CPUID inside an enclave is #UD: the enclave's own handler, entered over it, finds the
 * instruction as it was written, does its work and goes on behind it.  Each time.
 *
 * link: all
 */
#include "host.h"

#define UD 6
#define TIMES 20

static struct enclave e;
static struct op running;
static int emulated;

static void emulate(void)
{
	struct op op = { .what = DO_EMULATE };

	vdso_do(host_tcs(&e, 0), &op);
	CHECK(op.result == 1);
	emulated++;
}

static void on_ill(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGILL && info->si_code == ILL_ILLOPN);
	CHECK(info->si_addr == own_aep && GREG(context, TRAPNO) == UD);
	check_synthetic(context, host_tcs(&e, 0), own_aep);
	emulate();
}

static void check_answers(uint32_t leaf, uint32_t subleaf)
{
	uint32_t *out = (uint32_t *)running.data;

	for (uint32_t n = 0; n < TIMES; n++, out += 4)
		CHECK(out[0] == leaf + n + 1 && out[1] == subleaf + 2 && out[2] == 3 &&
		      out[3] == 4);
	CHECK(emulated == TIMES);
	emulated = 0;
}

static void through_vdso(uint32_t leaf, uint32_t subleaf)
{
	struct op divide = { .what = DO_DIVIDE }, skip = { .what = DO_SKIP, .value = 2 };
	struct sgx_enclave_run run, inner;

	running = (struct op){ .what = DO_CPUID, .address = leaf, .value = TIMES,
			       .size = subleaf };
	CHECK(vdso_call(host_tcs(&e, 0), EENTER, &running, &run) == 0);
	while (run.function == ERESUME) {
		CHECK(run.exception_vector == UD && run.exception_error_code == 0);
		CHECK(run.exception_addr == 0);
		/* The handler is interrupted too; and nobody stepped over it: the same again. */
		CHECK(vdso_call(host_tcs(&e, 0), EENTER, &divide, &inner) == 0);
		CHECK(inner.function == ERESUME && inner.exception_vector == 0);
		vdso_do(host_tcs(&e, 0), &skip);
		CHECK(vdso_call(host_tcs(&e, 0), ERESUME, &divide, &inner) == 0);
		CHECK(inner.function == EEXIT);
		CHECK(vdso_call(host_tcs(&e, 0), ERESUME, &running, &run) == 0);
		CHECK(run.function == ERESUME && run.exception_vector == UD);
		emulate();
		CHECK(vdso_call(host_tcs(&e, 0), ERESUME, &running, &run) == 0);
	}
	CHECK(run.function == EEXIT);
	check_answers(leaf, subleaf);
}

/* The handler that only sends the thread elsewhere, where it looks and goes back by a
 * jump: as runtimes do that let users handle exceptions. */
static void in_two_halves(uint32_t leaf, uint32_t subleaf)
{
	struct op ask = { .what = DO_REDIRECT };
	struct sgx_enclave_run run;

	running = (struct op){ .what = DO_CPUID, .address = leaf, .value = TIMES,
			       .size = subleaf };
	CHECK(vdso_call(host_tcs(&e, 0), EENTER, &running, &run) == 0);
	while (run.function == ERESUME) {
		CHECK(run.exception_vector == UD);
		vdso_do(host_tcs(&e, 0), &ask);
		CHECK(ask.result == (uint64_t)emulated);
		emulated++;
		CHECK(vdso_call(host_tcs(&e, 0), ERESUME, &running, &run) == 0);
	}
	CHECK(run.function == EEXIT);
	check_answers(leaf, subleaf);
}

/* Bytes that look like forbidden instructions, but are data among the code. */
static void data_is_data(void)
{
	static const uint8_t data[] = { 0xb8, 7,    0,	  0,	0,    0x66, 0x0f, 0xa2,
					0x0f, 0x31, 0x0f, 0x05, 0x0f, 0x34, 0xf4, 0x06,
					0x0f, 0xa2, 0x06, 0xcc, 0x0f, 0x01, 0xd7 };
	struct op op = { .what = DO_LOOKALIKE };

	vdso_do(host_tcs(&e, 0), &op);
	CHECK(op.result == sizeof(data) && memcmp(op.data, data, sizeof(data)) == 0);
}

static void every_way(const char *enclave)
{
	e = host_load(enclave);
	through_vdso(0, 0);
	running = (struct op){ .what = DO_CPUID, .address = 0x80000000, .value = TIMES,
			       .size = 7 };
	CHECK(own_enter(&running, host_tcs(&e, 0)) == (uint64_t)own_aep);
	check_answers(0x80000000, 7);
	in_two_halves(1, 2);
	data_is_data();
}

int main(void)
{
	catch_signal(SIGILL, on_ill, 0);
	every_way("3");
	every_way("debug");
	return 0;
}
