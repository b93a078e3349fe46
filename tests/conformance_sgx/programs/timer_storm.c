/* Timer signals while an enclave holds every register: nothing of it is lost, nothing
 * of it shows, the handler stands where the host's signals stand.
 *
 * link: all
 */
#include "host.h"

#include <cpuid.h>

#define SHOTS 150

static struct enclave e;
static struct op op;
static volatile int inside;
static char stack[65536];
static int on_own_stack;

static void on_alarm(int signo, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	uint64_t sp = (uint64_t)&uc;

	(void)signo, (void)info;
	CHECK((uint64_t)GREG(uc, RIP) - e.base >= e.size);
	CHECK(sp - e.base >= e.size);
	if (GREG(uc, RIP) == (greg_t)own_aep) {
		check_synthetic(uc, host_tcs(&e, 0), own_aep);
		CHECK((uint64_t)GREG(uc, RSP) == own_stack[0]);
		if (on_own_stack)
			CHECK(sp - (uint64_t)stack < sizeof(stack));
		else	/* below the host's frame and its red zone */
			CHECK(sp < own_stack[0] - 128 && own_stack[0] - sp < 65536);
		inside++;
	}
	if (inside >= SHOTS)
		op.stop = 1;
}

static void storm(const char *xfrm, int flags)
{
	const struct itimerval often = { { 0, 300 }, { 0, 300 } }, never = { 0 };

	e = host_load(xfrm);
	memset(&op, 0, sizeof(op));
	op.what = DO_SPIN;
	op.value = 77;
	inside = 0;
	on_own_stack = flags & SA_ONSTACK;
	catch_signal(SIGALRM, on_alarm, flags);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	CHECK(own_enter(&op, host_tcs(&e, 0)) == (uint64_t)own_aep);
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(op.result == 1);
	CHECK(munmap((void *)e.base, e.size) == 0 && close(e.fd) == 0);
}

int main(void)
{
	uint32_t a, b, xfrm, d;
	const stack_t alt = { .ss_sp = stack, .ss_size = sizeof(stack) };

	storm("3", 0);
	CHECK(sigaltstack(&alt, NULL) == 0);
	storm("3", SA_ONSTACK);
	/* The XFRM that the platform lets enclaves have. */
	__cpuid_count(0x12, 1, a, b, xfrm, d);
	if ((xfrm & 7) == 7)
		storm("7", SA_RESTART);
	if ((xfrm & 0xe7) == 0xe7)
		storm("e7", SA_ONSTACK);
	printf("%#x\n", xfrm & 0xe7);
	return 0;
}
