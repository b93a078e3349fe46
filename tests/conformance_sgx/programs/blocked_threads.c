/* Threads that block every signal enter enclaves, fault in them, and go on. */
#include "host.h"

static struct enclave e;
static volatile int ready;
static volatile uint64_t page;

static void *work(void *argument)
{
	uint64_t tcs;
	struct op op = { .what = DO_DIVIDE }, skip = { .what = DO_SKIP, .value = 2 };
	struct sgx_enclave_run run;
	sigset_t all, seen;

	sigfillset(&all);
	CHECK(pthread_sigmask(SIG_SETMASK, &all, NULL) == 0);
	__atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
	while (!page)
		usleep(100);
	tcs = host_tcs(&e, (unsigned int)(uint64_t)argument);
	for (int i = 0; i < 20; i++) {
		CHECK(vdso_call(tcs, EENTER, &op, &run) == 0);
		CHECK(run.function == ERESUME && run.exception_vector == 0);
		vdso_do(tcs, &skip);
		CHECK(vdso_call(tcs, ERESUME, &op, &run) == 0 && run.function == EEXIT);
		vdso_ask(tcs, DO_NOTHING, 0, 0, 0);
	}
	op.what = DO_NOTHING;
	CHECK(own_enter(&op, tcs) == (uint64_t)own_aep);
	CHECK(pthread_sigmask(SIG_SETMASK, NULL, &seen) == 0);
	CHECK(sigismember(&seen, SIGSEGV) && sigismember(&seen, SIGILL) &&
	      sigismember(&seen, SIGTRAP) && sigismember(&seen, SIGSYS) &&
	      sigismember(&seen, SIGUSR1));
	return NULL;
}

int main(void)
{
	pthread_t threads[4];

	for (uint64_t i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], NULL, work, (void *)i));
	while (ready < 4)
		usleep(100);
	e = host_load("3");	/* the first that this process has to do with SGX */
	page = 1;
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(threads[i], NULL));
	return 0;
}
