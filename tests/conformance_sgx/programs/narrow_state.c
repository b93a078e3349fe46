/* Inside an enclave XCR0 is XFRM, however much more the machine has: XGETBV says so, XSAVE
 * and its kin store no more, XRSTOR loads no more and refuses what is more.
 *
 * link: all
 */
#include "host.h"

#include <cpuid.h>

enum { XGETBV, XSAVE, XSAVE64, XSAVEOPT, XSAVEOPT64, XSAVEC, XSAVEC64, XRSTOR, XRSTOR64,
       OWN_AREA, XRSTOR64_SIB };
#define ALL (~0ull)
#define MXCSR 24
#define XMM 160
#define XSTATE_BV 512
#define XCOMP_BV 520
#define COMPACTED (1ull << 63)
#define CANARY 0xa5
#define ALARMS 12

static struct enclave e;
static uint64_t xfrm, xcr0;
static int bytes = 16, has_opt, has_c, has_get1;
static uint8_t area[2 * PAGE] __attribute__((aligned(PAGE)));
static uint8_t in[32][64], out[32][64];
static volatile int alarms;

static uint64_t word(uint64_t offset)
{
	uint64_t value;

	memcpy(&value, area + offset, sizeof(value));
	return value;
}

static void put(uint64_t offset, uint64_t value)
{
	memcpy(area + offset, &value, sizeof(value));
}

/* With vectors that are in use in every component. */
static uint64_t execute(uint64_t n, uint64_t mask)
{
	struct op op = { .what = DO_STATE, .address = (uint64_t)area, .value = mask, .size = n };

	for (int i = 0; i < 32; i++)
		for (int j = 0; j < 64; j++)
			in[i][j] = (uint8_t)(n + 5 * i + 11 * j + 1);
	memset(out, 0, sizeof(out));
	own_enter_vectors(&op, host_tcs(&e, 0), in, out, bytes);
	return op.result;
}

static void clear(void)
{
	memset(area, CANARY, sizeof(area));
	memset(area + XSTATE_BV, 0, 64);
}

static void check_end(uint64_t size)
{
	for (uint64_t i = size; i < sizeof(area); i++)
		CHECK(area[i] == CANARY);
}

static void saves(uint64_t n, int compacted)
{
	clear();
	CHECK(execute(n, ALL) == ALL);
	CHECK((word(XSTATE_BV) & 2) && !(word(XSTATE_BV) & ~xfrm));
	CHECK(word(XCOMP_BV) == (compacted ? COMPACTED | xfrm : 0));
	CHECK(memcmp(area + XMM, in[0], 16) == 0);
	CHECK(memcmp(area + XMM + 15 * 16, in[15], 16) == 0);
	if (xfrm == 7)
		CHECK(memcmp(area + 576 + 3 * 16, in[3] + 16, 16) == 0);
	if (xfrm <= 7)
		check_end(xfrm & 4 ? 832 : 576);
	CHECK(memcmp(in, out, sizeof(in[0]) * (bytes == 64 ? 32 : 0)) == 0);
	clear();
	CHECK(execute(n, 1) == 1);
	CHECK(!(word(XSTATE_BV) & ~1ull) && area[XMM] == CANARY);
	check_end(576);
}

static void image(uint64_t bv)
{
	memset(area, 0, sizeof(area));
	area[0] = 0x7f;
	area[1] = 3;
	put(MXCSR, 0xffff00001f80);
	for (int i = 0; i < 256; i++)
		area[XMM + i] = (uint8_t)(3 * i + 1);
	put(XSTATE_BV, bv);
}

static void loads(uint64_t n)
{
	static const uint8_t zero[64];

	image(3);
	CHECK(execute(n, ALL) == ALL);
	for (int i = 0; i < 16; i++) {
		CHECK(memcmp(out[i], area + XMM + 16 * i, 16) == 0);
		if (bytes >= 32)
			CHECK(memcmp(out[i] + 16, xfrm & 4 ? zero : in[i] + 16, 16) == 0);
		if (bytes == 64)
			CHECK(memcmp(out[i] + 32, xfrm & 0xe0 ? zero : in[i] + 32, 32) == 0);
	}
	for (int i = 16; i < 32 && bytes == 64; i++)
		CHECK(memcmp(out[i], xfrm & 0xe0 ? zero : in[i], 64) == 0);
}

/* A fault with RIP at the instruction, which is stepped over. */
static void faults(uint64_t n, const uint8_t *address, int vector)
{
	struct op op = { .what = DO_STATE, .address = (uint64_t)address, .value = ALL, .size = n };
	struct op skip = { .what = DO_SKIP, .value = 3 };
	struct sgx_enclave_run run;

	CHECK(vdso_call(host_tcs(&e, 0), EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == vector);
	if (vector == 14)
		CHECK(run.exception_addr == (((uint64_t)address + 512) & ~0xfffull));
	else
		CHECK(run.exception_error_code == 0 && run.exception_addr == 0);
	vdso_do(host_tcs(&e, 0), &skip);
	CHECK(vdso_call(host_tcs(&e, 0), ERESUME, &op, &run) == 0);
	CHECK(run.function == EEXIT && op.result == ALL);
}

static void refuses(void)
{
	uint8_t *hole = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t more = xfrm == 3 ? 4 : 1ull << 62;

	CHECK(hole != MAP_FAILED && munmap(hole + PAGE, PAGE) == 0);
	faults(XSAVE, area + 8, 13);
	faults(XSAVE, hole + PAGE, 14);
	faults(XSAVE, hole + PAGE - 512, 14);
	faults(XRSTOR, hole + PAGE, 14);
	image(3 | more);
	faults(XRSTOR, area, 13);
	image(3);
	if (!has_c)
		return;
	put(XCOMP_BV, COMPACTED | 3 | more);
	faults(XRSTOR, area, 13);
	put(XCOMP_BV, COMPACTED | xfrm);
	CHECK(execute(XRSTOR, ALL) == ALL);
}

static void shows(void)
{
	CHECK(execute(XGETBV, 0) == xfrm);
	if (has_get1) {
		CHECK((execute(XGETBV, 1) & ~xfrm) == 0);
		CHECK(execute(XGETBV, 1) & 2);
	}
	faults(XGETBV, area, 13);
}

static void on_alarm(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	alarms++;
}

static void among_signals(void)
{
	const struct itimerval often = { { 0, 5000 }, { 0, 5000 } }, never = { 0 };

	catch_signal(SIGALRM, on_alarm, SA_RESTART);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	for (alarms = 0; alarms < ALARMS;) {
		CHECK(execute(XGETBV, 0) == xfrm);
		CHECK(execute(XSAVE64, ALL) == ALL);
		CHECK(memcmp(area + XMM, in[0], 16) == 0);
	}
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
}

static void every_way(const char *name)
{
	e = host_load(name);
	xfrm = strtoul(name, NULL, 16);
	shows();
	saves(XSAVE, 0);
	saves(XSAVE64, 0);
	if (has_opt) {
		saves(XSAVEOPT, 0);
		saves(XSAVEOPT64, 0);
	}
	if (has_c) {
		saves(XSAVEC, 1);
		saves(XSAVEC64, 1);
	}
	CHECK((execute(OWN_AREA, ALL) & ~xfrm) == 0);
	loads(XRSTOR);
	loads(XRSTOR64);
	loads(XRSTOR64_SIB);
	refuses();
	among_signals();
}

int main(void)
{
	uint32_t a, b, low, d, c;

	__cpuid(1, a, b, c, d);
	if (!(c & bit_OSXSAVE))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	xcr0 = a | (uint64_t)d << 32;
	bytes = (xcr0 & 0xe7) == 0xe7 ? 64 : (xcr0 & 7) == 7 ? 32 : 16;
	__cpuid_count(0xd, 1, a, b, c, d);
	has_opt = a & 1;
	has_c = a & 2;
	has_get1 = a & 4;
	__cpuid_count(0x12, 1, a, b, low, d);
	every_way("3");
	if ((low & 7) == 7)
		every_way("7");
	if ((low & 0xe7) == 0xe7)
		every_way("e7");
	printf("%#x\n", low & 0xe7);
	return 0;
}
