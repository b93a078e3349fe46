/* A host that steps through itself with TF: an enclave that no debugger asked for is one
 * instruction to it, and a trap follows EEXIT.
 *
 * link: all
 */
#include "host.h"

#define TF 0x100

static struct enclave e;
static struct op op;
static volatile int at_back, before, handled, to_aep;
static volatile greg_t last;

static void on_step(int signo, siginfo_t *info, void *context)
{
	greg_t rip = GREG(context, RIP);

	CHECK(signo == SIGTRAP && info->si_code == TRAP_TRACE);
	CHECK(info->si_addr == (void *)rip && GREG(context, TRAPNO) == 1);
	CHECK((uint64_t)rip - e.base >= e.size);
	if (rip == (greg_t)own_site)
		before++;
	if (rip == (greg_t)own_aep)
		to_aep++;
	if (rip == (greg_t)own_back) {
		/* The instruction before was ENCLU, or it was the AEP's after a handler. */
		CHECK(last == (greg_t)own_site);
		CHECK(GREG(context, RCX) == (greg_t)own_aep);
		CHECK(GREG(context, EFL) & TF);
		at_back++;
	}
	last = rip;
}

static void on_fault(int signo, siginfo_t *info, void *context)
{
	struct op skip = { .what = DO_SKIP, .value = 2 };

	CHECK(signo == SIGFPE && info->si_code == FPE_INTDIV);
	check_synthetic(context, host_tcs(&e, 0), own_aep);
	/* TF is the host's, as at the entry. */
	CHECK(GREG(context, EFL) & TF);
	own_enter(&skip, host_tcs(&e, 0));
	handled++;
}

static void set_tf(int on)
{
	if (on)
		__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq" : : : "cc", "memory");
	else
		__asm__ volatile("pushfq; andl $~0x100, (%%rsp); popfq" : : : "cc", "memory");
}

static void step_over(uint64_t what)
{
	at_back = before = to_aep = 0;
	op = (struct op){ .what = what, .value = 3 };
	set_tf(1);
	own_enter(&op, host_tcs(&e, 0));
	set_tf(0);
	CHECK(before == 1 && at_back == 1 && to_aep == 0);
}

/* The vDSO's ENCLU is stepped over as well. */
static void through_the_vdso(void)
{
	struct sgx_enclave_run run;

	op = (struct op){ .what = DO_DIVIDE };
	set_tf(1);
	CHECK(vdso_call(host_tcs(&e, 1), EENTER, &op, &run) == 0);
	set_tf(0);
	CHECK(run.function == ERESUME && run.exception_vector == 0);
	op = (struct op){ .what = DO_SKIP, .value = 2 };
	set_tf(1);
	CHECK(vdso_call(host_tcs(&e, 1), EENTER, &op, &run) == 0);
	set_tf(0);
	CHECK(run.function == EEXIT);
}

int main(void)
{
	e = host_load("3");
	catch_signal(SIGTRAP, on_step, 0);
	catch_signal(SIGFPE, on_fault, 0);
	for (int i = 0; i < 3; i++) {
		step_over(DO_BASES);
		CHECK(!(((uint64_t *)op.data)[3] & TF));
		step_over(DO_SET_TF);
		CHECK(op.result == 0);
		step_over(DO_DIVIDE);
		CHECK(handled == i + 1);
	}
	/* TF set inside is nothing without the host's either. */
	CHECK(vdso_ask(host_tcs(&e, 0), DO_SET_TF, 0, 0, 0) == 0);
	through_the_vdso();
	return 0;
}
