/* A process that uses an enclave sends itself fault signals in the kernel's own words: they
 * are signals like any others, and the enclave works before and after.
 *
 * link: all
 */
#define OTHERS 0
#define main forged
#include "../../conformance/programs/forged.c"
#undef main
#include "host.h"

int main(void)
{
	struct enclave e = host_load("3");
	struct sgx_enclave_run run;
	struct op op = { .what = DO_DIVIDE };

	vdso_ask(host_tcs(&e, 0), DO_NOTHING, 0, 0, 0);
	CHECK(forged() == 0);
	vdso_ask(host_tcs(&e, 0), DO_NOTHING, 0, 0, 0);
	/* Forged by somebody who has just left by an asynchronous exit. */
	CHECK(vdso_call(host_tcs(&e, 0), EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == 0);
	CHECK(forged() == 0);
	return 0;
}
