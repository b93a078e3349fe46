/* FS and GS: an enclave sets its own bases, exits save and ERESUME restores them, and the
 * host, which sets other ones meanwhile, has those after EEXIT.
 *
 * link: all
 */
#include "host.h"

#include <asm/prctl.h>

#define FS 0x123456789000ul
#define GS 0x7fffffffe000ul
#define SHOTS 100

static struct enclave e;
static struct op op;
static volatile int shots;
static uint64_t host_fs;

static uint64_t base_of(int which)
{
	uint64_t base = 0;

	CHECK(syscall(SYS_arch_prctl, which, &base) == 0);
	return base;
}

static void on_alarm(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	CHECK(base_of(ARCH_GET_FS) == host_fs);
	CHECK(base_of(ARCH_GET_GS) == (uint64_t)shots);
	shots++;
	CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, (uint64_t)shots) == 0);
	if (shots >= SHOTS && op.started) {
		op.stop = 1;
	} else if (op.started && shots % 16 == 3 &&
		   GREG(context, RIP) == (greg_t)own_aep) {
		struct op frame = { .what = DO_FRAME };

		own_enter(&frame, host_tcs(&e, 0));
		CHECK(((uint64_t *)frame.data)[21] == FS);
		CHECK(((uint64_t *)frame.data)[22] == GS);
	}
}

int main(void)
{
	const struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { 0 };

	e = host_load("3");
	host_fs = base_of(ARCH_GET_FS);
	CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, 0) == 0);
	op = (struct op){ .what = DO_OWN_BASES, .address = FS, .value = GS };
	catch_signal(SIGALRM, on_alarm, 0);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	CHECK(own_enter(&op, host_tcs(&e, 0)) == (uint64_t)own_aep);
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(op.result == 1 && shots >= SHOTS);
	CHECK(base_of(ARCH_GET_FS) == host_fs);
	CHECK(base_of(ARCH_GET_GS) == (uint64_t)shots);
	return 0;
}
