/* SPDX-License-Identifier: Apache-2.0 */
/* ENCLU, from outside and inside, and what the enclave then does. */
#include "fuzz.h"

#include "../../runner/programs/hostile.h"

static uint64_t leaf_value(void)
{
	uint64_t leaf = roll(3) ? EENTER + roll(2) : roll(16);

	return roll(8) ? leaf : leaf | value() << 32;
}

/* A request; it may write to the enclave and to the arena only. */
static void any_request(struct op *op)
{
	memset(op, 0, sizeof(*op));
	op->stop = 1;
	/* A lowered stack has what stood there before, as return addresses: also the agent's. */
	do
		op->what = roll(3) ? roll(DO_LEAF + 1) : DO_ENCLU;
	while (op->what == DO_LOWER && !victim.forges);
	op->address = roll(6) ? enclave_value() : (uint64_t)victim.arena + roll(ARENA);
	op->value = op->what == DO_WRITE ? roll(256) : roll(2) ? value() : roll(16);
	op->size = roll(2) ? value() : (roll(7) << 8 | roll(64));
	for (size_t i = 0; i < sizeof(op->data); i += 8) {
		uint64_t word = value();

		memcpy(op->data + i, &word, sizeof(word));
	}
	/* These wait for something. */
	endless = op->what == DO_MEET || op->what == DO_CALL;
}

void act_enclu(void)
{
	struct op op;
	struct wild regs = { .rax = leaf_value(), .rbx = tcs_value(), .rcx = value(),
			     .rdx = value(), .rsi = value(), .rdi = value() };

	any_request(&op);
	if (roll(2))
		regs.rdi = (uint64_t)&op;
	if (roll(2))
		regs.rcx = (uint64_t)own_aep;
	endless = 1;
	wild_enclu(&regs);
}

void act_vdso(void)
{
	struct sgx_enclave_run run;
	struct op op;

	any_request(&op);
	if (roll(8)) {
		vdso_call(tcs_value(), roll(6) ? EENTER : (uint32_t)leaf_value(), &op,
			  &run);
		return;
	}
	for (size_t i = 0; i < sizeof(run); i += 8)
		*(uint64_t *)((uint8_t *)&run + i) = roll(2) ? 0 : value();
	run.user_handler = 0;
	vdso_again((uint32_t)leaf_value(), &op, &run);
}

void act_raw_entry(void)
{
	struct op op;

	any_request(&op);
	endless = 1; /* its AEP resumes for ever what faults */
	own_enter(&op, tcs_value());
}

/* EACCEPT and its kin with operands that could be right. */
void act_own_leaf(void)
{
	static const uint64_t leaves[] = { EACCEPT, ENCLU_EMODPE };
	struct op op = { .what = roll(4) ? DO_ENCLU : DO_TCS, .value = leaves[roll(2)],
			 .address = victim.e.base + SPARE + roll(16) * PAGE,
			 .size = roll(5) << 8 | roll(64), .stop = 1 };
	struct sgx_enclave_run run;

	if (op.what == DO_TCS)
		op.value = roll(THREADS);
	vdso_call(host_tcs(&victim.e, (unsigned int)roll(8)), EENTER, &op, &run);
}

/* ---- the agent's own call ---- */

static void any_context(struct abi_context *ctx)
{
	uint64_t *words = (uint64_t *)ctx;

	for (size_t i = 0; i < sizeof(*ctx) / 8; i++)
		words[i] = value();
	ctx->rax = leaf_value();
	ctx->inside = (uint32_t)roll(3);
	if (roll(2))
		ctx->tcs = tcs_value();
	if (roll(2))
		ctx->xcr0 = 3;
	if (roll(2))
		ctx->xsavesize = roll(5) * 1024;
	if (roll(2))
		ctx->xsave = (uint64_t)victim.arena + PAGE;
}

void act_forge(void)
{
	static const uint64_t calls[] = { CALL_ENCLU, CALL_FAULT, CALL_AEX };

	if (!victim.forges)
		return;
	if (roll(2)) {
		any_context((struct abi_context *)victim.arena);
		agent_call(calls[roll(3)], (uint64_t)victim.arena, 0, 0, 0, 0);
	} else {
		agent_call(roll(24), roll(2) ? value() : (uint64_t)fd_value(), value(),
			   value(), value(), value());
	}
}
