/* Threads that come to one CPUID in an enclave at once: each has it handled, each time,
 * also while a timer interrupts them and their handlers.
 */
#include "host.h"

#define UD 6
#define THREADS_HERE 3
#define ROUNDS 15
#define TIMES 10

static struct enclave e;
static volatile int ticks;

static void on_tick(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	ticks++;
}

static void handle(struct op *op, uint64_t tcs, uint32_t *handled)
{
	struct op ask = { .what = DO_EMULATE };
	struct sgx_enclave_run run;

	CHECK(vdso_call(tcs, EENTER, op, &run) == 0);
	while (run.function == ERESUME) {
		CHECK(run.exception_vector == UD);
		vdso_do(tcs, &ask);
		CHECK(ask.result == 1);
		++*handled;
		CHECK(vdso_call(tcs, ERESUME, op, &run) == 0);
	}
	CHECK(run.function == EEXIT);
}

static void *body(void *argument)
{
	uint32_t number = (uint32_t)(uintptr_t)argument;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct op op = { .what = DO_CPUID, .address = 100 * round,
				 .value = TIMES, .size = number };
		uint32_t *out = (uint32_t *)op.data, handled = 0;

		handle(&op, host_tcs(&e, number), &handled);
		CHECK(handled == TIMES);
		for (uint32_t n = 0; n < TIMES; n++, out += 4)
			CHECK(out[0] == 100 * round + n + 1 && out[1] == number + 2 &&
			      out[2] == 3 && out[3] == 4);
	}
	return NULL;
}

int main(void)
{
	struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, never = { 0 };
	pthread_t threads[THREADS_HERE];

	e = host_load("3");
	catch_signal(SIGALRM, on_tick, SA_RESTART);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	for (uintptr_t n = 0; n < THREADS_HERE; n++)
		CHECK(pthread_create(&threads[n], NULL, body, (void *)n) == 0);
	for (int n = 0; n < THREADS_HERE; n++)
		CHECK(pthread_join(threads[n], NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(ticks > 0);
	return 0;
}
