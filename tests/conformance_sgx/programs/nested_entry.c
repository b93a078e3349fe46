/* A handler enters the thread's TCS again: CSSA is 1, and the interrupted work goes on
 * afterwards.
 *
 * link: all
 */
#include "host.h"

#define SHOTS 40

static struct enclave e;
static struct op op = { .what = DO_SPIN, .value = 5 };
static volatile int nested;

static void on_alarm(int signo, siginfo_t *info, void *context)
{
	struct op ask = { .what = DO_FRAME };

	(void)signo, (void)info;
	if (GREG(context, RIP) == (greg_t)own_aep) {
		own_enter(&ask, host_tcs(&e, 0));
		/* RIP of the frame is in the enclave, RSP and RBP are the host's. */
		CHECK(((uint64_t *)ask.data)[17] - e.base < e.size);
		if (++nested == SHOTS)
			op.stop = 1;
	}
}

int main(void)
{
	const struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, never = { 0 };

	e = host_load("3");
	catch_signal(SIGALRM, on_alarm, 0);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	CHECK(own_enter(&op, host_tcs(&e, 0)) == (uint64_t)own_aep);
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(op.result == 1 && nested >= SHOTS);
	return 0;
}
