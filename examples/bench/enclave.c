/* SPDX-License-Identifier: Apache-2.0 */
/* The enclave that is measured: does nothing, accepts pages, or computes. */
#include "../hello/arch.h"
#include "../hello/runtime.h"
#include "../hello/sha256.h"
#include "op.h"

static uint8_t buffer[BUFFER_SIZE];

static uint64_t eaccept(uint64_t address)
{
	static const struct secinfo secinfo = {
		.flags = SECINFO_R | SECINFO_W | SECINFO_REG | SECINFO_PENDING,
	};
	uint64_t rax = EACCEPT;

	__asm__ volatile("enclu" : "+a"(rax) : "b"(&secinfo), "c"(address) : "memory", "cc");
	return rax;
}

static uint64_t accept_pages(uint64_t address, uint64_t count)
{
	for (; count; count--, address += PAGE) {
		uint64_t error = eaccept(address);

		if (error)
			return error;
	}
	return 0;
}

/* Each round hashes the digest of the round before. */
static void compute(uint64_t rounds)
{
	while (rounds--)
		sha256(buffer, sizeof(buffer), buffer);
}

/* Writes to each page once, and checks that it has what the last round left there. */
static uint64_t touch(uint64_t address, uint64_t count, uint64_t step)
{
	static uint64_t rounds;
	uint64_t wrong = 0;

	for (uint64_t i = 0, n = 0; i < count; i++, n = (n + step) % count) {
		uint64_t *word = (uint64_t *)(address + n * PAGE);

		wrong += *word != (rounds ? rounds ^ n : 0);
		*word = (rounds + 1) ^ n;
	}
	rounds++;
	return wrong;
}

void enclave_main(void *argument)
{
	struct op op;

	if (!is_outside(argument, sizeof(op)))
		return;
	memcpy(&op, argument, sizeof(op));
	op.result = 0;
	if (op.what == OP_EACCEPT)
		op.result = accept_pages(op.address, op.count);
	else if (op.what == OP_SHA256)
		compute(op.count);
	else if (op.what == OP_TOUCH)
		op.result = touch(op.address, op.count, op.step);
	memcpy(argument, &op, sizeof(op));
}
