/* A child of fork has its parent's enclave: the same memory, the same threads.
 *
 * link: all
 */
#include "host.h"

static struct enclave e;
static uint64_t page;

static void child(void)
{
	CHECK(vdso_ask(host_tcs(&e, 0), DO_READ, page, 0, 0) == 0x11);
	vdso_ask(host_tcs(&e, 0), DO_WRITE, page, 0x22, 0);
	/* It may map more of it, and that page is the parent's too. */
	CHECK(mmap((void *)(page + PAGE), PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) != MAP_FAILED);
	CHECK(vdso_ask(host_tcs(&e, 1), DO_ENCLU, page + PAGE, EACCEPT,
		       SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING) == 0);
	vdso_ask(host_tcs(&e, 1), DO_WRITE, page + PAGE, 0x33, 0);
	_exit(3);
}

static void child_of_busy_parent(void)
{
	struct sgx_enclave_run run;
	struct op op = { .what = DO_NOTHING };

	CHECK(vdso_call(host_tcs(&e, 2), EENTER, &op, &run) == 0);
	CHECK(run.function == EENTER && run.exception_vector == 13);
	vdso_do(host_tcs(&e, 1), &op);
	_exit(4);
}

int main(void)
{
	struct inside in = { .op = { .what = DO_SPIN } };
	struct op op = { .what = DO_NOTHING };

	e = host_load("3");
	page = e.base + SPARE;
	CHECK(mmap((void *)page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, e.fd,
		   0) != MAP_FAILED);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENCLU, page, EACCEPT,
		       SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING) == 0);
	vdso_ask(host_tcs(&e, 0), DO_WRITE, page, 0x11, 0);
	CHECK(WEXITSTATUS(status_of(child)) == 3);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_READ, page, 0, 0) == 0x22);
	CHECK(mmap((void *)(page + PAGE), PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) != MAP_FAILED);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_READ, page + PAGE, 0, 0) == 0x33);
	/* A thread of the parent stays inside over the fork. */
	in.tcs = host_tcs(&e, 2);
	inside_start(&in);
	CHECK(WEXITSTATUS(status_of(child_of_busy_parent)) == 4);
	inside_wait(&in);
	CHECK(in.op.result == 1);
	vdso_do(in.tcs, &op);
	return 0;
}
