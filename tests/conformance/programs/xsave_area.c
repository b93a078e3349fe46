/* An XSAVE area is as large as CPUID says; each part of it that CPUID tells of lies in it,
 * and on a processor of Intel's where those have it. */
#include "check.h"
#include <cpuid.h>

#define FILL 0xa5
#define LARGEST 0x8000

static uint8_t area[LARGEST] __attribute__((aligned(64)));

static uint64_t xcr0(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static void save_all(void)
{
	memset(area, FILL, sizeof(area));
	memset(area + 512, 0, 64);
	__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(-1), "d"(-1) : "memory");
}

static int is_intels(void)
{
	uint32_t a, name[4] = { 0 };

	__cpuid(0, a, name[0], name[2], name[1]);
	return !strcmp((char *)name, "GenuineIntel");
}

int main(void)
{
	static const uint32_t places[20] = { [2] = 576,	 [3] = 960,  [4] = 1024,
					     [5] = 1088, [6] = 1152, [7] = 1664,
					     [9] = 2688, [17] = 2752, [18] = 2816 };
	uint32_t supported, enabled, most, high, size, place, c, d;

	__cpuid_count(0xd, 0, supported, enabled, most, high);
	CHECK((xcr0() & ~(supported | (uint64_t)high << 32)) == 0);
	CHECK(576 <= enabled && enabled <= most && most <= LARGEST);
	for (int i = 2; i < 20; i++) {
		if (!(supported >> i & 1))
			continue;
		__cpuid_count(0xd, i, size, place, c, d);
		CHECK(size && place >= 576 && place + size <= most);
		CHECK(!(xcr0() >> i & 1) || place + size <= enabled);
		CHECK(!is_intels() || !places[i] || place == places[i]);
	}
	save_all();
	for (uint32_t i = enabled; i < LARGEST; i++)
		CHECK(area[i] == FILL);
	return 0;
}
