/* Sixty-eight threads are in four enclaves at once, each waits inside for all the others;
 * some leave by a signal handler that ends the thread, or jumps out.
 */
#include "host.h"

#include <setjmp.h>

#define ENCLAVES 4
#define EACH (THREADS - 3)
#define ALL (ENCLAVES * EACH)

static struct enclave e[ENCLAVES];
static volatile uint64_t met;
static pthread_barrier_t ready;
static __thread sigjmp_buf away;
static volatile int jumped;

static uint64_t tcs_of(uint64_t number)
{
	return host_tcs(&e[number / EACH], (unsigned int)(number % EACH));
}

static void *meet(void *number)
{
	vdso_ask(tcs_of((uint64_t)number), DO_NOTHING, 0, 0, 0);
	pthread_barrier_wait(&ready);
	vdso_ask(tcs_of((uint64_t)number), DO_MEET, (uint64_t)&met, ALL, 0);
	return NULL;
}

/* The thread that is interrupted inside ends in its handler. */
static void on_end(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	pthread_exit(NULL);
}

static void on_exit_call(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	syscall(SYS_exit, 0);
}

static void on_jump(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	siglongjmp(away, 1);
}

static void *jump_out(void *argument)
{
	struct inside *in = argument;
	struct sgx_enclave_run run;

	if (sigsetjmp(away, 1) == 0)
		vdso_call(in->tcs, EENTER, &in->op, &run);
	else
		jumped++;
	/* One frame is in use; the others are not. */
	vdso_ask(in->tcs, DO_NOTHING, 0, 0, 0);
	return NULL;
}

static void leave_by(on_signal *handler, void *(*body)(void *), unsigned int number)
{
	struct inside in = { .tcs = host_tcs(&e[0], number), .op = { .what = DO_COUNT } };

	catch_signal(SIGUSR1, handler, 0);
	if (body) {
		CHECK(pthread_create(&in.thread, NULL, body, &in) == 0);
		while (!in.op.started)
			usleep(100);
	} else {
		inside_start(&in);
	}
	CHECK(pthread_kill(in.thread, SIGUSR1) == 0);
	if (handler != on_exit_call)
		CHECK(pthread_join(in.thread, NULL) == 0);
	else
		while (pthread_tryjoin_np(in.thread, NULL) == EBUSY)
			usleep(1000);
	vdso_ask(in.tcs, DO_NOTHING, 0, 0, 0);
	CHECK(in.op.result == 0);
}

int main(void)
{
	pthread_t threads[ALL];

	CHECK(pthread_barrier_init(&ready, NULL, ALL) == 0);
	for (int i = 0; i < ENCLAVES; i++)
		e[i] = host_load("3");
	for (uint64_t i = 0; i < ALL; i++)
		CHECK(!pthread_create(&threads[i], NULL, meet, (void *)i));
	for (uint64_t i = 0; i < ALL; i++)
		CHECK(!pthread_join(threads[i], NULL));
	CHECK(met == ALL);
	leave_by(on_end, NULL, 0);
	leave_by(on_exit_call, NULL, 1);
	leave_by(on_jump, jump_out, 2);
	CHECK(jumped == 1);
	return 0;
}
