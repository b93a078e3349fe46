/* Extended state: what an exit saves in the frame and shows to the host, what ERESUME
 * takes back and refuses, and what crossings leave alone.
 *
 * link: all
 */
#include "host.h"

#include <cpuid.h>

#define MXCSR 24
#define XMM 160
#define XSTATE_BV 512
#define XCOMP_BV 520
#define YMM_HIGH 576
#define SHOTS 40

static struct enclave e;
static struct op op;
static volatile int shots;
static uint64_t xfrm;
static uint8_t in[32][64], out[32][64];

/* ---- what is saved, and what shows ---- */

static const uint8_t *fp_bytes(const ucontext_t *uc)
{
	return (const uint8_t *)uc->uc_mcontext.fpregs;
}

static void check_init(const uint8_t *fp)
{
	static const uint8_t zero[256];

	CHECK(*(const uint16_t *)fp == 0x37f && *(const uint16_t *)(fp + 2) == 0);
	CHECK(*(const uint32_t *)(fp + MXCSR) == 0x1f80);
	CHECK(memcmp(fp + 32, zero, 128) == 0 && memcmp(fp + XMM, zero, 256) == 0);
	if (xfrm & 4)
		CHECK(memcmp(fp + YMM_HIGH, zero, 256) == 0);
}

static uint64_t frame(uint64_t offset)
{
	return frame_load(host_tcs(&e, 0), 0, offset);
}

/* DO_SPIN's vectors hold its bytes from offset 256 on. */
static uint64_t spun(uint64_t n)
{
	uint64_t word = 0;

	for (uint64_t i = 0; i < 8; i++)
		word |= (uint64_t)(uint8_t)(op.value + 31 * (256 + 64 * n + i) +
					    ((256 + 64 * n + i) >> 8))
			<< 8 * i;
	return word;
}

static void on_alarm(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	if (GREG(context, RIP) != (greg_t)own_aep)
		return;
	check_init(fp_bytes(context));
	if (shots % 8 == 0 && op.started) {
		CHECK((frame(XSTATE_BV) & 2) && !(frame(XSTATE_BV) & ~xfrm));
		CHECK(frame(XCOMP_BV) == 0 && frame(XCOMP_BV + 8) == 0);
		CHECK(frame(XMM) == spun(0) && frame(XMM + 16 * 9) == spun(9));
		CHECK((uint32_t)frame(MXCSR) == 0x1f80);
		if (xfrm & 4)
			CHECK(frame(YMM_HIGH) != 0);
	}
	if (++shots >= SHOTS && op.started)
		op.stop = 1;
}

static void saved(const char *name)
{
	const struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, never = { 0 };

	e = host_load(name);
	xfrm = strtoul(name, NULL, 16);
	op = (struct op){ .what = DO_SPIN, .value = 0x31 };
	shots = 0;
	catch_signal(SIGALRM, on_alarm, 0);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	own_enter(&op, host_tcs(&e, 0));
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(op.result == 1);
}

/* ---- what an enclave changes in its frame ---- */

static void refused(uint64_t offset, uint64_t value, int is_refused)
{
	uint64_t tcs = host_tcs(&e, 0);
	struct op fault = { .what = DO_UNDEFINED }, skip = { .what = DO_SKIP, .value = 2 };
	struct sgx_enclave_run run;
	uint64_t before;

	CHECK(vdso_call(tcs, EENTER, &fault, &run) == 0 && run.function == ERESUME);
	vdso_do(tcs, &skip);
	before = frame(offset);
	frame_store(tcs, 0, offset, value | before);
	CHECK(vdso_call(tcs, ERESUME, &fault, &run) == 0);
	if (is_refused) {
		CHECK(run.function == ERESUME && run.exception_vector == 13);
		CHECK(run.exception_error_code == 0 && run.exception_addr == 0);
		frame_store(tcs, 0, offset, before);
		CHECK(vdso_call(tcs, ERESUME, &fault, &run) == 0);
	}
	CHECK(run.function == EEXIT);
}

static void on_trap(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	frame_store(host_tcs(&e, 0), 0, XMM + 16 * 5, ~spun(5));
	op.stop = 1;
}

static void taken(void)
{
	struct inside spin = { .tcs = host_tcs(&e, 0), .op = { .what = DO_SPIN } };

	op.value = spin.op.value = 7;
	catch_signal(SIGUSR1, on_trap, 0);
	inside_start(&spin);
	CHECK(pthread_kill(spin.thread, SIGUSR1) == 0);
	while (!op.stop)
		usleep(1000);
	inside_wait(&spin);
	CHECK(spin.op.result == 0);
}

/* ---- what crossings leave alone ---- */

static void on_undefined(int signo, siginfo_t *info, void *context)
{
	struct op skip = { .what = DO_SKIP, .value = 2 };
	const uint8_t *fp = fp_bytes(context);

	CHECK(signo == SIGILL && info->si_addr == own_aep);
	check_init(fp);
	if (*(const uint64_t *)(fp + XSTATE_BV) & 4)
		for (int i = 0; i < 16; i++)
			CHECK(memcmp(fp + YMM_HIGH + 16 * i, in[i] + 16, 16) == 0);
	own_enter(&skip, host_tcs(&e, 0));
}

static void kept(uint64_t what, int bytes)
{
	struct op ask = { .what = what };

	for (int i = 0; i < 32; i++)
		for (int j = 0; j < 64; j++)
			in[i][j] = (uint8_t)(what + 7 * i + 13 * j + 1);
	memset(out, 0, sizeof(out));
	own_enter_vectors(&ask, host_tcs(&e, 0), in, out, bytes);
	for (int i = 0; i < (bytes == 64 ? 32 : 16); i++)
		CHECK(memcmp(in[i], out[i], (size_t)bytes) == 0);
}

int main(void)
{
	uint32_t a, b, low, d, high;
	int bytes = 16;

	__cpuid_count(0x12, 1, a, b, low, d);
	saved("3");
	refused(XCOMP_BV, 1, 1);
	refused(XCOMP_BV, 1ul << 63, 1);
	refused(XCOMP_BV + 8, 1, 1);
	refused(XSTATE_BV, 1ul << 62, 1);
	refused(MXCSR, 1ul << 31, 1);
	refused(XCOMP_BV + 16, ~0ul, 0);
	refused(XCOMP_BV + 48, ~0ul, 0);
	taken();
	__cpuid(1, a, b, high, d);
	if (high & bit_OSXSAVE) {
		__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
		bytes = (a & 0xe7) == 0xe7 ? 64 : (a & 7) == 7 ? 32 : 16;
	}
	catch_signal(SIGILL, on_undefined, 0);
	kept(DO_NOTHING, bytes);
	kept(DO_UNDEFINED, bytes);
	if ((low & 7) == 7)
		saved("7");
	if ((low & 0xe7) == 0xe7)
		saved("e7");
	printf("%#x %d\n", low & 0xe7, bytes);
	return 0;
}
