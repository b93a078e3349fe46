/* A TCS without a free frame, and one that another thread is in, cannot be entered:
 * #GP at the ENCLU, RAX still EENTER.
 *
 * link: all
 */
#include "host.h"

static int faults;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGSEGV && info->si_code == SI_KERNEL && !info->si_addr);
	CHECK(GREG(context, RIP) == (greg_t)own_site);
	CHECK(GREG(context, RAX) == EENTER);
	CHECK(GREG(context, TRAPNO) == 13);
	faults++;
	GREG(context, RIP) = (greg_t)own_back;
}

static void refused(uint64_t tcs)
{
	struct sgx_enclave_run run;
	struct op op = { .what = DO_NOTHING };

	CHECK(vdso_call(tcs, EENTER, &op, &run) == 0);
	CHECK(run.function == EENTER && run.exception_vector == 13);
	CHECK(run.exception_error_code == 0 && run.exception_addr == 0);
	faults = 0;
	own_enter(&op, tcs);
	CHECK(faults == 1);
}

int main(void)
{
	struct enclave e = host_load("3");
	uint64_t last = host_tcs(&e, THREADS - 1);
	struct sgx_enclave_run run;
	struct op op = { .what = DO_DIVIDE };
	struct inside in = { .tcs = host_tcs(&e, 2), .op = { .what = DO_COUNT } };

	catch_signal(SIGSEGV, on_fault, SA_NODEFER);
	/* ERESUME where nothing was interrupted. */
	CHECK(vdso_call(last, ERESUME, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == 13);
	/* One frame, and it is in use. */
	CHECK(vdso_call(last, EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == 0);
	refused(last);
	/* Three frames: the fourth entry is refused. */
	for (int i = 0; i < FRAMES; i++) {
		CHECK(vdso_call(host_tcs(&e, 0), EENTER, &op, &run) == 0);
		CHECK(run.function == ERESUME);
	}
	refused(host_tcs(&e, 0));
	/* Busy. */
	inside_start(&in);
	refused(in.tcs);
	CHECK(vdso_call(in.tcs, ERESUME, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == 13);
	inside_wait(&in);
	CHECK(in.op.result > 0);
	vdso_ask(in.tcs, DO_NOTHING, 0, 0, 0);
	return 0;
}
