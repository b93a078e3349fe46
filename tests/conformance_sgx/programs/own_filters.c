/* Entering an enclave, leaving it and accepting its pages are no system calls: whatever
 * filter the program has installed, they work.
 *
 * link: all
 */
#include "host.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#define PENDING_RW (SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING)

static struct enclave e;
static uint64_t page;
static volatile int traps;

static void load(void)
{
	e = host_load("3");
	page = e.base + SPARE;
	CHECK(mmap((void *)page, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		   e.fd, 0) != MAP_FAILED);
}

static void use(void)
{
	struct sgx_enclave_run run;
	struct op op = { .what = DO_DIVIDE };

	for (unsigned int i = 0; i < 6; i++)
		vdso_ask(host_tcs(&e, i % 2), DO_NOTHING, 0, 0, 0);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENCLU, page, EACCEPT, PENDING_RW) == 0);
	vdso_ask(host_tcs(&e, 0), DO_WRITE, page, 0x77, 0);
	CHECK(vdso_ask(host_tcs(&e, 1), DO_READ, page, 0, 0) == 0x77);
	CHECK(vdso_call(host_tcs(&e, 0), EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == 0);
	syscall(SYS_exit, 5);
}

/* Only these calls, or the end of the process. */
static void few(uint32_t others)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, others),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = 5, .filter = code };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
}

static void allow_list(void)
{
	load();
	few(SECCOMP_RET_KILL_PROCESS);
	use();
}

static void refusing(void)
{
	load();
	few(SECCOMP_RET_ERRNO | EDOM);
	CHECK_FAILS(munmap((void *)page, PAGE), EDOM);
	CHECK_FAILS(ioctl(e.fd, SGX_IOC_ENCLAVE_CREATE, NULL), EDOM);
	use();
}

static void strict(void)
{
	load();
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
	use();
}

/* Before the program opens the device: the filter is older. */
static void early(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mremap, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP | 3),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = 6, .filter = code };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void on_trap(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGSYS && info->si_errno == 3 && info->si_syscall == SYS_madvise);
	GREG(context, RAX) = 55;
	traps++;
}

static void again(void)
{
	char *argv[] = { "again", NULL };

	early();
	execv("/proc/self/exe", argv);
}

static void filtered_before(void)
{
	catch_signal(SIGSYS, on_trap, 0);
	load();
	CHECK(mremap((void *)page, PAGE, 2 * PAGE, 0) == MAP_FAILED && errno == EDOM);
	CHECK(madvise((void *)page, PAGE, MADV_NORMAL) == 55 && traps == 1);
	use();
}

int main(int argc, char **argv)
{
	(void)argc;
	if (strcmp(argv[0], "again") == 0)
		filtered_before();
	CHECK(WEXITSTATUS(status_of(allow_list)) == 5);
	CHECK(WEXITSTATUS(status_of(refusing)) == 5);
	CHECK(WEXITSTATUS(status_of(strict)) == 5);
	CHECK(WEXITSTATUS(status_of(again)) == 5);
	return 0;
}
