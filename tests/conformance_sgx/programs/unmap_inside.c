/* The host takes its enclave's memory away while a thread is inside. */
#include "host.h"

static struct enclave e;

static void take(struct inside *in, int prot)
{
	if (prot < 0)
		CHECK(munmap((void *)e.base, e.size) == 0);
	else
		CHECK(mprotect((void *)e.base, THREADS * PAGE + PAGE, prot) == 0);
	in->op.stop = 1;
}

static void *enter(void *argument)
{
	struct inside *in = argument;
	struct sgx_enclave_run run;

	CHECK(vdso_call(in->tcs, EENTER, &in->op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == PF);
	CHECK(run.exception_addr - e.base < e.size);
	/* The enclave cannot go on: its TCS is not there. */
	CHECK(vdso_call(in->tcs, ERESUME, &in->op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == PF);
	CHECK(run.exception_addr == in->tcs);
	return NULL;
}

int main(void)
{
	static const int prots[] = { PROT_NONE, -1 };

	for (int i = 0; i < 2; i++) {
		struct inside in = { .op = { .what = DO_COUNT } };

		e = host_load("3");
		in.tcs = host_tcs(&e, 0);
		CHECK(pthread_create(&in.thread, NULL, enter, &in) == 0);
		while (!in.op.started)
			usleep(100);
		take(&in, prots[i]);
		CHECK(pthread_join(in.thread, NULL) == 0);
	}
	return 0;
}
