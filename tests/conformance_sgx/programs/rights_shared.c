/* Parent and child have one enclave: a page that loses a right loses it in both, for whoever
 * enters after that.
 */
#include "host.h"

#define FRESH (SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING)
#define PR 0x20
#define PAGES 3ul

static struct enclave e;
static uint64_t page;

/* One entry that writes to the n-th page: 1, it faults. */
static int faults(unsigned int tcs, uint64_t n)
{
	struct op op = { .what = DO_WRITE, .address = page + n * PAGE, .value = 1 };
	struct sgx_enclave_run run;

	CHECK(vdso_call(host_tcs(&e, tcs), EENTER, &op, &run) == 0);
	if (run.function == EEXIT)
		return 0;
	CHECK(run.function == ERESUME && run.exception_vector == PF);
	CHECK(run.exception_addr == page + n * PAGE);
	CHECK(run.exception_error_code == (PF_SGX | PF_U | PF_W | PF_P));
	return 1;
}

static void restrict_page(unsigned int tcs, uint64_t n)
{
	struct sgx_enclave_restrict_permissions args = {
		.offset = page + n * PAGE - e.base, .length = PAGE, .permissions = 1 };

	CHECK(ioctl(e.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &args) == 0);
	CHECK(vdso_ask(host_tcs(&e, tcs), DO_ENCLU, page + n * PAGE, EACCEPT,
		       SECINFO_REG | SECINFO_R | PR) == 0);
}

static void say(int pipe)
{
	CHECK(write(pipe, "", 1) == 1);
}

static void hear(int pipe)
{
	char word;

	CHECK(read(pipe, &word, 1) == 1);
}

static int up[2], down[2];

static void child(void)
{
	close(down[1]);
	hear(down[0]);
	CHECK(faults(2, 0)); /* restricted before anybody here did anything */
	for (int n = 0; n < 4; n++)
		CHECK(!faults(3, 1) && !faults(3, 2));
	say(up[1]);
	hear(down[0]);
	CHECK(faults(4, 1));
	restrict_page(5, 2);
	say(up[1]);
	_exit(7);
}

int main(void)
{
	pid_t pid;
	int status;

	e = host_load("3");
	page = e.base + SPARE;
	CHECK(pipe(up) == 0 && pipe(down) == 0);
	CHECK(mmap((void *)page, PAGES * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) != MAP_FAILED);
	for (uint64_t n = 0; n < PAGES; n++)
		CHECK(vdso_ask(host_tcs(&e, 0), DO_ENCLU, page + n * PAGE, EACCEPT, FRESH) ==
		      0);
	for (unsigned int tcs = 1; tcs < 8; tcs++)
		CHECK(!faults(tcs, 0) && !faults(tcs, 1) && !faults(tcs, 2));
	pid = fork();
	if (pid == 0)
		child();
	close(up[1]); /* whoever fails is heard */
	restrict_page(0, 0);
	say(down[1]);
	hear(up[0]);
	restrict_page(0, 1);
	say(down[1]);
	hear(up[0]);
	CHECK(faults(6, 2));
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	CHECK(WEXITSTATUS(status) == 7);
	return 0;
}
