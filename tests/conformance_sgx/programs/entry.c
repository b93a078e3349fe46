/* The vDSO's function: what it returns, refuses, and leaves alone.
 *
 * link: all
 */
#include "host.h"

static int handler(long rdi, long rsi, long rdx, long ursp, long r8, long r9,
		   struct sgx_enclave_run *run)
{
	(void)rdi, (void)rsi, (void)rdx, (void)ursp, (void)r8, (void)r9;
	if (run->user_data == 1) {
		run->user_data = 2;
		return EENTER;	/* once more */
	}
	return run->user_data == 2 ? -7 : 0;
}

int main(void)
{
	struct enclave e = host_load("3");
	struct sgx_enclave_run run;
	struct op op = { .what = DO_BASES };
	uint64_t *data = (uint64_t *)op.data;

	CHECK(vdso_call(host_tcs(&e, 0), EENTER, &op, &run) == 0);
	CHECK(run.function == EEXIT && run.exception_vector == 0);
	/* FS and GS were the enclave's, by the offsets of its TCS. */
	CHECK(data[0] == e.base + data[2] + AREA_FS);
	CHECK(data[1] == e.base + data[2] + AREA_GS);
	CHECK(errno == 0);	/* the host's own again */
	/* What the run held before is still there after EEXIT. */
	run.exception_vector = 3, run.exception_addr = 5, run.exception_error_code = 9;
	CHECK(vdso_again(EENTER, &op, &run) == 0);
	CHECK(run.exception_vector == 3 && run.exception_addr == 5 &&
	      run.exception_error_code == 9);
	for (uint32_t leaf = 0; leaf < 12; leaf++)
		if (leaf != EENTER && leaf != ERESUME)
			CHECK(vdso_call(host_tcs(&e, 0), leaf, &op, &run) == -EINVAL);
	run.reserved[215] = 1;
	CHECK(vdso_again(EENTER, &op, &run) == -EINVAL);
	memset(&run, 0, sizeof(run));
	run.tcs = host_tcs(&e, 0);
	run.user_handler = (uint64_t)handler;
	run.user_data = 1;
	CHECK(vdso_again(EENTER, &op, &run) == -7);
	CHECK(run.user_data == 2);
	for (int i = 0; i < 100; i++)
		vdso_do(host_tcs(&e, (unsigned int)i % THREADS), &op);
	return 0;
}
