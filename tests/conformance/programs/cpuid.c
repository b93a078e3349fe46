/* CPUID is the machine's own, SGX aside.  Prints it for comparison. */
#include "check.h"
#include <cpuid.h>

static void show(unsigned leaf, unsigned subleaf, const unsigned keep[4])
{
	unsigned r[4];

	__cpuid_count(leaf, subleaf, r[0], r[1], r[2], r[3]);
	printf("%#x.%u: %08x %08x %08x %08x\n", leaf, subleaf, r[0] & keep[0],
	       r[1] & keep[1], r[2] & keep[2], r[3] & keep[3]);
}

int main(void)
{
	static const unsigned all[4] = { ~0u, ~0u, ~0u, ~0u };
	/* Not the largest leaf; not the APIC id; not SGX, SGX_LC, SGX_KEYS. */
	static const unsigned vendor[4] = { 0, ~0u, ~0u, ~0u };
	static const unsigned features[4] = { ~0u, 0x0000ffffu, ~0u, ~0u };
	static const unsigned more[4] = { ~0u, ~(1u << 2), ~(1u << 30), ~2u };
	static const unsigned more1[4] = { ~0u, ~0u, ~0u, ~0u };
	unsigned a, b, c, d;

	show(0, 0, vendor);
	show(1, 0, features);
	show(7, 0, more);
	show(7, 1, more1);
	show(0xd, 0, all);
	show(0x80000000u, 0, all);
	for (unsigned leaf = 0x80000002u; leaf <= 0x80000004u; leaf++)
		show(leaf, 0, all);
	__cpuid(0, a, b, c, d);
	CHECK(a >= 7);
	__cpuid(1, a, b, c, d);
	CHECK((d >> 26 & 1) && (d >> 25 & 1));
	return 0;
}
