/* What CPUID says a program can execute is the machine's own, SGX aside, whoever the
 * processor says it is.  Prints it for comparison. */
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
	/* Not who it is; not the APIC id; not SGX, SGX_LC, SGX_KEYS; not AMD's own. */
	static const unsigned features[4] = { 0, 0x0000ffffu, ~0u, ~0u };
	static const unsigned more[4] = { ~0u, ~(1u << 2), ~(1u << 30), ~2u };
	static const unsigned common[4] = { 0, 0, 0x121, 0x2c100800 };
	static const unsigned topology[4] = { ~0u, ~0u, ~0u, 0 };
	/* Not how large an area is: Intel's processors leave gaps in it. */
	static const unsigned state[4] = { ~0u, 0, 0, ~0u };
	static const unsigned sizes[4] = { 0xffff, 0, 0, 0 };
	unsigned a, b, c, d;

	show(1, 0, features);
	show(7, 0, more);
	show(7, 1, all);
	show(0xb, 0, topology);
	show(0xd, 0, state);
	show(0xd, 1, all);
	show(0x80000001u, 0, common);
	show(0x80000008u, 0, sizes);
	__cpuid(0, a, b, c, d);
	CHECK(a >= 7);
	__cpuid(1, a, b, c, d);
	CHECK((d >> 26 & 1) && (d >> 25 & 1));
	return 0;
}
