/* SPDX-License-Identifier: Apache-2.0 */
/* What programs look at before they use SGX: vendor, leaf 7, leaf 12H with its
 * sub-leaves, XCR0 against the XFRM that enclaves may have, and the device.
 * link: all
 */
#include "host.h"

#include <cpuid.h>
#include <time.h>
#include <x86intrin.h>

#define SECTIONS 8

static uint64_t read_xcr0(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static void check_processor(void)
{
	unsigned int a, b, c, d;
	char vendor[13] = "", brand[49] = "";

	__cpuid(0, a, b, c, d);
	memcpy(vendor, &b, 4);
	memcpy(vendor + 4, &d, 4);
	memcpy(vendor + 8, &c, 4);
	CHECK(!strcmp(vendor, "GenuineIntel"));
	CHECK(a >= 0x12);
	__cpuid(1, a, b, c, d);
	CHECK((a >> 8 & 15) == 6);	/* every processor with SGX is of family 6 */
	CHECK(c >> 27 & 1);		/* OSXSAVE */
	for (unsigned int n = 0; n < 3; n++) {
		__cpuid(0x80000002 + n, a, b, c, d);
		memcpy(brand + 16 * n, &a, 4);
		memcpy(brand + 16 * n + 4, &b, 4);
		memcpy(brand + 16 * n + 8, &c, 4);
		memcpy(brand + 16 * n + 12, &d, 4);
	}
	CHECK(strstr(brand, "Intel"));
	__cpuid(0x80000000, a, b, c, d);
	CHECK(a == 0x80000008);
}

/* Of some readings the one that least came between. */
static double now_and_tsc(uint64_t *tsc)
{
	struct timespec now, best = { 0 };
	uint64_t least = ~0ull, before, after;

	for (int i = 0; i < 20; i++) {
		before = __rdtsc();
		clock_gettime(CLOCK_MONOTONIC_RAW, &now);
		after = __rdtsc();
		if (after - before < least) {
			least = after - before;
			best = now;
			*tsc = after;
		}
	}
	return (double)best.tv_sec * 1e9 + (double)best.tv_nsec;
}

/* Where the counter's rate is constant, leaf 15H tells it, with 16H on old processors. */
static void check_rate(void)
{
	unsigned int a, b, c, d;
	uint64_t from, to;
	double rate, measured, begin;

	__cpuid(0x80000007, a, b, c, d);
	if (!(d >> 8 & 1))
		return;
	__cpuid(0, a, b, c, d);
	CHECK(a >= 0x16);
	__cpuid(0x15, a, b, c, d);
	CHECK(a && b);
	rate = (double)c * b / a;
	__cpuid(0x16, a, b, c, d);
	CHECK(a);
	rate = rate > 0 ? rate : a * 1e6;
	begin = now_and_tsc(&from);
	usleep(50000);
	measured = now_and_tsc(&to) - begin;
	measured = (double)(to - from) * 1e9 / measured;
	CHECK(rate > measured * 0.99 && rate < measured * 1.01);
}

/* Data caches with lines and sets, the first of level 1, and then an end. */
static void check_caches(void)
{
	unsigned int a, b, c, d, n = 0, level = 0;

	__cpuid_count(4, 0, a, b, c, d);
	CHECK((a >> 5 & 7) == 1);
	for (; n < 16 && (a & 31); n++) {
		CHECK((a >> 5 & 7) >= level);
		level = a >> 5 & 7;
		CHECK((b & 0xfff) + 1 >= 16);
		__cpuid_count(4, n + 1, a, b, c, d);
	}
	CHECK(n >= 2 && n < 16);
	CHECK(sysconf(_SC_PAGESIZE) == 4096);
}

static void check_sgx(void)
{
	unsigned int a, b, c, d, n;
	uint64_t xfrm, total = 0;

	__cpuid_count(7, 0, a, b, c, d);
	CHECK(b >> 2 & 1);		/* SGX */
	CHECK(c >> 30 & 1);		/* SGX_LC */
	__cpuid_count(0x12, 0, a, b, c, d);
	CHECK(a & 1);			/* SGX1 */
	CHECK((d & 0xff) >= 31 && (d >> 8 & 0xff) >= 36);
	__cpuid_count(0x12, 1, a, b, c, d);
	xfrm = (uint64_t)d << 32 | c;
	CHECK((a & 6) == 6);		/* DEBUG, MODE64BIT */
	CHECK((xfrm & 3) == 3);
	CHECK(!(xfrm & ~read_xcr0()));
	for (n = 0; n < SECTIONS; n++) {
		uint64_t base, size;

		__cpuid_count(0x12, 2 + n, a, b, c, d);
		if (!(a & 15))
			break;
		CHECK((a & 15) == 1 && (a & 0xff0) == 0);
		base = (uint64_t)(b & 0xfffff) << 32 | (a & 0xfffff000);
		size = (uint64_t)(d & 0xfffff) << 32 | (c & 0xfffff000);
		CHECK(base && size && (c & 15) != 0);
		total += size;
	}
	CHECK(n >= 1 && n < SECTIONS);
	CHECK(total >= 1 << 20);
}

int main(void)
{
	int fd;

	check_processor();
	check_caches();
	check_rate();
	check_sgx();
	CHECK(__builtin_cpu_supports("sse2"));
	CHECK(__builtin_cpu_is("intel"));
	fd = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	close(fd);
	return 0;
}
