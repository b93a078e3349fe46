/* Leaves with bad operands inside: the exceptions that the host sees. */
#include "host.h"

#define EGETKEY 1

static struct enclave e;
static unsigned int thread;

static void leaf(uint64_t rax, uint64_t rbx, uint64_t rcx, uint16_t vector,
		 uint64_t address)
{
	const uint64_t regs[4] = { rax, rbx, rcx, 0 };
	struct sgx_enclave_run run;
	struct op op = { .what = DO_LEAF };
	struct op skip = { .what = DO_SKIP, .value = 3 };
	uint64_t tcs = host_tcs(&e, thread++ % 8);

	memcpy(op.data, regs, sizeof(regs));
	CHECK(vdso_call(tcs, EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME);
	CHECK(run.exception_vector == vector);
	CHECK(run.exception_addr == address);
	vdso_do(tcs, &skip);
	CHECK(vdso_call(tcs, ERESUME, &op, &run) == 0 && run.function == EEXIT);
}

int main(void)
{
	static uint8_t outside[1024] __attribute__((aligned(512)));
	uint64_t data;

	e = host_load("3");
	data = e.base + 0x40000;
	for (uint64_t number = 10; number < 32; number++)
		leaf(number, data, data, 13, 0);
	leaf(EENTER, host_tcs(&e, 0), 0, 13, 0);
	leaf(ERESUME, host_tcs(&e, 0), 0, 13, 0);
	leaf(EREPORT, data + 1, data, 13, 0);
	leaf(EGETKEY, data + 1, data, 13, 0);
	leaf(EACCEPT, data + 1, data, 13, 0);
	leaf(EACCEPT, (uint64_t)outside, data, 13, 0);
	leaf(EGETKEY, (uint64_t)outside, data, 13, 0);
	leaf(EEXIT, 0x8000000000000000ull, 0, 13, 0);
	return 0;
}
