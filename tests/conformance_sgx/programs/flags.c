/* RFLAGS over the border: EENTER and EEXIT leave all but TF alone, an exit clears the
 * arithmetic flags and RF for the host and keeps the others, ERESUME puts back the
 * enclave's.
 *
 * link: all
 */
#include "host.h"

#define ARITHMETIC 0x8d5	/* CF PF AF ZF SF OF */
#define DF 0x400
#define RF 0x10000
#define FIXED 2

static struct enclave e;
static struct op op;
static volatile int shots;
static uint64_t saved, shown;

/* The host's flags in, what EEXIT leaves out. */
static uint64_t enter(uint64_t rflags)
{
	return own_enter_flags(&op, host_tcs(&e, 0), rflags);
}

static void over_eenter_and_eexit(void)
{
	for (uint64_t df = 0; df <= DF; df += DF) {
		op = (struct op){ .what = DO_BASES };
		/* The entry saves RFLAGS and loads them again; its last XOR leaves ZF and PF. */
		CHECK((enter(df | ARITHMETIC | FIXED) & (DF | ARITHMETIC)) == (df | 0x44));
		CHECK((((uint64_t *)op.data)[3] & DF) == df);
	}
}

static void on_alarm(int signo, siginfo_t *info, void *context)
{
	struct op frame = { .what = DO_FRAME };

	(void)signo, (void)info;
	/* R15 tells an exit from a signal that came between a handler and ERESUME. */
	if (GREG(context, RIP) != (greg_t)own_aep || !op.started || GREG(context, R15))
		return;
	shown = (uint64_t)GREG(context, EFL);
	own_enter(&frame, host_tcs(&e, 0));
	saved = ((uint64_t *)frame.data)[16];
	/* DO_SPIN set all of these, and waits with JRCXZ, which touches none. */
	if ((saved & (ARITHMETIC | DF)) != (ARITHMETIC | DF))
		return;
	CHECK((shown & (ARITHMETIC | RF)) == 0 && (shown & DF));
	CHECK((saved & 0x202) == 0x202);
	/* What the host does to its own flags is nothing to the enclave. */
	GREG(context, EFL) = (GREG(context, EFL) & ~(greg_t)DF) | (shots & 1 ? 1 : 0x40);
	GREG(context, R15) = 1;
	if (++shots == 20)
		op.stop = 1;
}

int main(void)
{
	const struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, never = { 0 };

	e = host_load("3");
	over_eenter_and_eexit();
	op = (struct op){ .what = DO_SPIN, .value = 3 };
	catch_signal(SIGALRM, on_alarm, 0);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	own_enter(&op, host_tcs(&e, 0));
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(op.result == 1 && shots >= 20);
	return 0;
}
