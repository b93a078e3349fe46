/* Exceptions inside become fields of the run, and no signal.
 *
 * link: all
 */
#include "host.h"

static struct enclave e;

static void never(int signo)
{
	fprintf(stderr, "signal %d\n", signo);
	_exit(1);
}

/* Enter, be stopped by an exception, step over it if told to, resume. */
static void expect(struct op op, uint16_t vector, uint16_t error, uint64_t address)
{
	uint64_t skip = op.size;
	struct sgx_enclave_run run;
	struct op ask = { .what = DO_SKIP, .value = skip };

	CHECK(vdso_call(host_tcs(&e, 0), EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME);
	CHECK(run.exception_vector == vector);
	CHECK(run.exception_error_code == error);
	CHECK(run.exception_addr == address);
	if (skip)
		vdso_do(host_tcs(&e, 0), &ask);
	else
		CHECK(mprotect((void *)address, PAGE, PROT_READ | PROT_WRITE) == 0);
	CHECK(vdso_call(host_tcs(&e, 0), ERESUME, &op, &run) == 0);
	CHECK(run.function == EEXIT);
}

int main(void)
{
	static uint8_t buffer[3 * PAGE];
	uint64_t outside = ((uint64_t)buffer + PAGE) & ~(PAGE - 1ul);
	struct sgx_enclave_run run;
	struct op op = { .what = DO_NOTHING };

	e = host_load("3");
	signal(SIGSEGV, never);
	signal(SIGFPE, never);
	signal(SIGILL, never);
	signal(SIGBUS, never);
	signal(SIGTRAP, never);
	expect((struct op){ .what = DO_DIVIDE, .size = 2 }, 0, 0, 0);
	expect((struct op){ .what = DO_UNDEFINED, .size = 2 }, 6, 0, 0);
	expect((struct op){ .what = DO_PROTECTED, .size = 1 }, 13, 0, 0);
	/* INT3 in an enclave that no debugger asked for. */
	expect((struct op){ .what = DO_BREAK, .size = 1 }, 6, 0, 0);
	expect((struct op){ .what = DO_X87, .size = 1 }, 16, 0, 0);
	expect((struct op){ .what = DO_SSE, .size = 3 }, 19, 0, 0);
	expect((struct op){ .what = DO_STACK, .size = 3 }, 12, 0, 0);
	/* A page of the host's without permissions. */
	buffer[PAGE] = 1;
	CHECK(mprotect((void *)outside, PAGE, PROT_NONE) == 0);
	op = (struct op){ .what = DO_READ, .address = outside + 5 };
	CHECK(vdso_call(host_tcs(&e, 0), EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == PF);
	CHECK((run.exception_error_code & ~PF_P) == PF_U && run.exception_addr == outside);
	CHECK(mprotect((void *)outside, PAGE, PROT_READ | PROT_WRITE) == 0);
	CHECK(vdso_call(host_tcs(&e, 0), ERESUME, &op, &run) == 0 && run.function == EEXIT);
	/* Nothing is mapped at address 0. */
	op = (struct op){ .what = DO_READ, .address = 0x10 };
	CHECK(vdso_call(host_tcs(&e, 1), EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == PF);
	CHECK(run.exception_error_code == PF_U && run.exception_addr == 0);
	return 0;
}
