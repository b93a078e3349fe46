/* SPDX-License-Identifier: Apache-2.0 */
/* Random arguments: mostly from a pool of values that matter. */
#include "fuzz.h"

static __thread uint64_t state = 1;

void thread_begin(uint64_t number)
{
	state = number * 0x9e3779b97f4a7c15ul + 1;
}

uint64_t roll(uint64_t sides)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 8) % sides;
}

uint64_t tcs_value(void)
{
	return roll(8) ? host_tcs(&victim.e, (unsigned int)roll(4)) : value();
}

uint64_t enclave_value(void)
{
	uint64_t at = victim.e.base + roll(victim.e.size / PAGE + 4) * PAGE - PAGE;

	if (roll(2))
		at = victim.e.base + (roll(2) ? SPARE : 0) + roll(32) * PAGE;
	return roll(6) ? at : at + roll(PAGE);
}

int fd_value(void)
{
	return roll(8) ? victim.fds[roll(8)] : (int)roll(64) - 2;
}

uint64_t value(void)
{
	const uint64_t pool[] = {
		0, 1, 3, 7, 8, 0xfff, PAGE, (uint64_t)-1, (uint64_t)-PAGE, 1ul << 47,
		(1ul << 47) - PAGE, 1ul << 63, 0x7fffffff, 0xffffffff, 0xffffffff81000000,
		(uint64_t)victim.arena, (uint64_t)victim.arena + 1,
		(uint64_t)victim.arena + ARENA - 8, (uint64_t)victim.arena + ARENA,
		(uint64_t)value, victim.e.size, victim.e.base,
		victim.e.base + victim.e.size,
		/* The last ones break the agent: what it then says is expected. */
		AGENT_BASE, AGENT_BASE + VDSO_OFFSET, AGENT_BASE + DATA_OFFSET,
		AGENT_BASE + BLOCKS_OFFSET,
	};
	uint64_t length = sizeof(pool) / sizeof(pool[0]) - (victim.forges ? 0 : 4);

	switch (roll(8)) {
	case 0:
		return roll(1ul << 55) << 8 | roll(256);
	case 1:
		return roll(PAGE);
	case 2:
	case 3:
		return enclave_value();
	default:
		return pool[roll(length)];
	}
}
