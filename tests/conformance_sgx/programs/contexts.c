/* Signal handlers that do not simply return, while an enclave is interrupted: they leave
 * by siglongjmp, swap contexts, change the interrupted one; the enclave waits and goes on.
 */
#include "host.h"

#include <setjmp.h>

#define AREA_SIZE 65536

static struct enclave e;
static struct op op;
static uint64_t tcs;
static sigjmp_buf out;
static ucontext_t main_context, inside_context, resume_context;
static char stacks[2][AREA_SIZE] __attribute__((aligned(16)));
static volatile int caught, ended, changed;
static ucontext_t *volatile swap_to;

static void start_inside(void (*body)(void))
{
	op.started = op.stop = op.result = 0;
	ended = 0;
	CHECK(getcontext(&inside_context) == 0);
	inside_context.uc_stack.ss_sp = stacks[0];
	inside_context.uc_stack.ss_size = AREA_SIZE;
	inside_context.uc_link = &main_context;
	makecontext(&inside_context, body, 0);
}

static void spin_inside(void)
{
	op.what = DO_SPIN;
	op.value = 9;
	CHECK(own_enter(&op, tcs) == (uint64_t)own_aep);
	ended = 1;
}

static void timer(suseconds_t us)
{
	const struct itimerval often = { { 0, us }, { 0, us } };

	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
}

static int is_inside(void *context)
{
	return GREG(context, RIP) == (greg_t)own_aep && op.started;
}

/* ---- siglongjmp: the enclave stays interrupted, and any ERESUME goes on with it ---- */

static void jump_out(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	if (is_inside(context)) {
		caught++;
		siglongjmp(out, 1);
	}
}

static void resume_inside(void)
{
	own_resume(tcs);
}

static void left_by_siglongjmp(void)
{
	struct op ask = { .what = DO_FRAME };
	sigset_t mask;

	catch_signal(SIGALRM, jump_out, 0);
	start_inside(spin_inside);
	if (sigsetjmp(out, 1) == 0) {
		timer(1000);
		swapcontext(&main_context, &inside_context);
	}
	timer(0);
	CHECK(caught == 1 && !ended);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &mask) == 0 && !sigismember(&mask, SIGALRM));
	/* Meanwhile the thread is free for another entry, at its next frame. */
	own_enter(&ask, tcs);
	CHECK(((uint64_t *)ask.data)[17] - e.base < e.size);
	op.stop = 1;
	CHECK(getcontext(&resume_context) == 0);
	resume_context.uc_stack.ss_sp = stacks[1];
	resume_context.uc_stack.ss_size = AREA_SIZE;
	makecontext(&resume_context, resume_inside, 0);
	CHECK(swapcontext(&main_context, &resume_context) == 0);
	CHECK(ended && op.result == 1);
}

/* ---- swapcontext out of a handler, and back into it ---- */

static void swap_out(int signo, siginfo_t *info, void *context)
{
	ucontext_t here;

	(void)signo, (void)info;
	if (!is_inside(context))
		return;
	swap_to = &here;
	caught++;
	CHECK(swapcontext(&here, &main_context) == 0);
}

static void swapped(void)
{
	caught = 0;
	catch_signal(SIGALRM, swap_out, 0);
	start_inside(spin_inside);
	timer(1000);
	CHECK(swapcontext(&main_context, &inside_context) == 0);
	while (!ended) {
		CHECK(op.result == 0 && swap_to);
		/* Work of the host's, and of another thread of the enclave's. */
		CHECK(vdso_ask(host_tcs(&e, 1), DO_AREA, 0, 0, 0) > e.base);
		if (caught == 20)
			op.stop = 1;
		CHECK(swapcontext(&main_context, swap_to) == 0);
	}
	timer(0);
	CHECK(caught >= 20 && op.result == 1);
}

/* ---- the handler's changes to the context ---- */

static char elsewhere_stack[AREA_SIZE] __attribute__((aligned(16)));

static void elsewhere(uint64_t argument)
{
	CHECK(argument == 0x1234 && (uint64_t)&argument - (uint64_t)elsewhere_stack < AREA_SIZE);
	changed = 1;
	setcontext(&main_context);
}

static void change(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	if (!is_inside(context))
		return;
	/* RIP, RSP, RDI, and the mask that the return will set. */
	GREG(context, RIP) = (greg_t)elsewhere;
	GREG(context, RSP) = (greg_t)elsewhere_stack + AREA_SIZE - 8;
	GREG(context, RDI) = 0x1234;
	sigaddset(&((ucontext_t *)context)->uc_sigmask, SIGUSR2);
}

static void returned_elsewhere(void)
{
	sigset_t mask;

	catch_signal(SIGALRM, change, 0);
	start_inside(spin_inside);
	timer(1000);
	CHECK(getcontext(&main_context) == 0);
	if (!changed) {
		setcontext(&inside_context);
		CHECK(0);
	}
	timer(0);
	CHECK(!ended);
	op.stop = 1;
	CHECK(getcontext(&resume_context) == 0);
	resume_context.uc_stack.ss_sp = stacks[1];
	resume_context.uc_stack.ss_size = AREA_SIZE;
	makecontext(&resume_context, resume_inside, 0);
	CHECK(swapcontext(&main_context, &resume_context) == 0);
	CHECK(ended && op.result == 1);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &mask) == 0);
}

/* An AEP of its own making: the handler lets the thread return to another one. */
static void other_aep(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	if (!is_inside(context))
		return;
	GREG(context, RIP) = (greg_t)own_site;
	if (++caught == 10)
		op.stop = 1;
}

static void resumed_at_another_place(void)
{
	caught = 0;
	op.started = op.stop = 0;
	catch_signal(SIGALRM, other_aep, 0);
	timer(1000);
	spin_inside();
	timer(0);
	CHECK(caught >= 10 && op.result == 1);
}

int main(void)
{
	e = host_load("3");
	tcs = host_tcs(&e, 0);
	for (int round = 0; round < 3; round++) {
		caught = changed = 0;
		left_by_siglongjmp();
		swapped();
		returned_elsewhere();
		resumed_at_another_place();
	}
	return 0;
}
