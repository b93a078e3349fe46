/* A process closes every descriptor, shares its files no more, and may open none: the
 * enclave that it has mapped works on.
 */
#include "host.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#define UNSHARE 2u
#define CLOEXEC 4u

static struct enclave e;

/* Both ways in, an accepted page, and a fault. */
static void use(unsigned int n)
{
	struct sgx_enclave_run run;
	struct op op = { .what = DO_DIVIDE }, nothing = { .what = DO_NOTHING };
	uint64_t page = e.base + SPARE + n * PAGE;

	vdso_ask(host_tcs(&e, 1), DO_NOTHING, 0, 0, 0);
	own_enter(&nothing, host_tcs(&e, 2));
	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENCLU, page, EACCEPT,
		       SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING) == 0);
	vdso_ask(host_tcs(&e, 0), DO_WRITE, page, 0x77, 0);
	CHECK(vdso_ask(host_tcs(&e, 1), DO_READ, page, 0, 0) == 0x77);
	CHECK(vdso_call(host_tcs(&e, 3 + n), EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == 0);
}

static void close_all(unsigned int flags)
{
	long ret = syscall(SYS_close_range, 3u, ~0u, flags);

	CHECK(ret == 0 || errno == ENOSYS || (errno == EINVAL && flags == CLOEXEC));
}

static void limit(int what, rlim_t to)
{
	struct rlimit r;

	CHECK(getrlimit(what, &r) == 0);
	r.rlim_cur = to;
	CHECK(setrlimit(what, &r) == 0);
}

static void alone(void)
{
	CHECK(unshare(CLONE_FILES | CLONE_FS) == 0);
	use(0);
	close_all(CLOEXEC);
	use(1);
	close_all(UNSHARE);
	CHECK_FAILS(ioctl(e.fd, SGX_IOC_ENCLAVE_CREATE, NULL), EBADF);
	use(2);
	_exit(7);
}

int main(void)
{
	int status;

	e = host_load("3");
	CHECK(mmap((void *)(e.base + SPARE), 8 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) != MAP_FAILED);
	status = status_of(alone);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) == 0);
	use(3);
	limit(RLIMIT_NPROC, 0);
	limit(RLIMIT_NOFILE, 0);
	CHECK_FAILS(open("/dev/sgx_enclave", O_RDWR), EMFILE);
	CHECK_FAILS(dup(e.fd), EMFILE);
	use(4);
	close_all(0);
	use(5);
	return 0;
}
