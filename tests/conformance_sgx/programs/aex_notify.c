/* AEX-Notify: an enclave that asks for it is told of every exit by ERESUME, which enters
 * it like EENTER, and works on by EDECCSSA with all its state.  Needs a processor with
 * AEX-Notify.
 *
 * link: all
 */
#include "host.h"

#define SHOTS 100
#define AEXNOTIFY_WORD (PAGE - 184 + 160) /* EXITINFO, and AEXNOTIFY in the last byte */

static struct enclave e;
static struct op op;
static volatile int shots, due;

/* Each exit whose frame asks for it is told of by the ERESUME that follows.  R15 tells an
 * exit from a signal that came between a handler and ERESUME. */
static void on_alarm(int signo, siginfo_t *info, void *context)
{
	static uint64_t rsp;
	struct op frame = { .what = DO_FRAME };

	(void)signo, (void)info;
	if (GREG(context, RIP) != (greg_t)own_aep || GREG(context, R15))
		return;
	check_synthetic(context, host_tcs(&e, 0), own_aep);
	if (shots == 0)
		rsp = own_stack[0];
	CHECK((uint64_t)GREG(context, RSP) == rsp);
	own_enter(&frame, host_tcs(&e, 0));
	due += frame.data[167] & 1;
	GREG(context, R15) = 1;
	if (++shots >= SHOTS && (due >= 10 || op.value != 1))
		op.stop = 1;
}

static uint64_t storm(uint64_t notify)
{
	const struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, never = { 0 };

	shots = due = 0;
	op = (struct op){ .what = DO_NOTIFY, .value = notify };
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	CHECK(own_enter(&op, host_tcs(&e, 0)) == (uint64_t)own_aep);
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(op.result == 1 && shots >= SHOTS && op.size == (uint64_t)due);
	return op.size;
}

/* ERESUME to a thread without one more frame faults, and can be had when it is off. */
static void no_frame_for_it(void)
{
	uint64_t tcs = host_tcs(&e, THREADS - 1);
	struct sgx_enclave_run run;
	struct op break_up = { .what = DO_UNDEFINED };
	uint64_t area = vdso_ask(tcs, DO_AREA, 0, 0, 0);

	vdso_ask(tcs, DO_WRITE, area + AEXNOTIFY_WORD + 7, 1, 0);
	CHECK(vdso_call(tcs, EENTER, &break_up, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == 6);
	CHECK(vdso_call(tcs, ERESUME, &break_up, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == 13);
	CHECK(run.exception_error_code == 0 && run.exception_addr == 0);
	vdso_ask(host_tcs(&e, 0), DO_WRITE, area + AEXNOTIFY_WORD + 7, 0, 0);
	CHECK(vdso_call(tcs, ERESUME, &break_up, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == 6);
}

static void on_fault(int signo, siginfo_t *info, void *context)
{
	struct op skip = { .what = DO_SKIP, .value = 3 };

	CHECK(signo == SIGSEGV && info->si_code == SI_KERNEL);
	check_synthetic(context, host_tcs(&e, 0), own_aep);
	own_enter(&skip, host_tcs(&e, 0));
	shots = -1;
}

/* EDECCSSA with no frame to give back. */
static void nothing_to_give_back(void)
{
	struct op leaf = { .what = DO_LEAF };

	*(uint64_t *)leaf.data = 9;
	catch_signal(SIGSEGV, on_fault, 0);
	CHECK(own_enter(&leaf, host_tcs(&e, 0)) == (uint64_t)own_aep);
	CHECK(shots == -1);
}

int main(void)
{
	e = host_load("notify");
	catch_signal(SIGALRM, on_alarm, SA_RESTART);
	CHECK(storm(0) == 0);
	CHECK(storm(1) >= 10);
	CHECK(storm(0xfe) == 0); /* its other bits mean nothing */
	no_frame_for_it();
	nothing_to_give_back();
	return 0;
}
