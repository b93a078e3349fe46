/* Instructions that an enclave does not have are #UD there, whatever they would do or
 * raise outside: through the vDSO and with a handler of the program's.
 *
 * link: all
 */
#include "host.h"

#define UD 6
#define EXITINFO_UD 0x80000306u
#define GPRSGX_RCX 8
#define GPRSGX_RIP 136
#define GPRSGX_EXITINFO 160
#define SYSCALL 10 /* the one that may lose RCX: see docs/not-emulated.md */
#define STUBS 29

static struct enclave e;
static struct op running;
static int traps;

static uint64_t field(const struct op *frame, size_t offset)
{
	uint64_t value;

	memcpy(&value, frame->data + offset, sizeof(value));
	return value;
}

/* What the enclave's own handler sees of it; then it steps over the instruction. */
static void step_over(void)
{
	struct op frame = { .what = DO_FRAME }, skip = { .what = DO_SKIP };
	struct stub stub;

	memcpy(&stub, running.data, sizeof(stub));
	vdso_do(host_tcs(&e, 0), &frame);
	CHECK((uint32_t)field(&frame, GPRSGX_EXITINFO) == EXITINFO_UD);
	CHECK(field(&frame, GPRSGX_RIP) == stub.address);
	CHECK(field(&frame, GPRSGX_RCX) == HELD || running.value == SYSCALL);
	skip.value = stub.size;
	vdso_do(host_tcs(&e, 0), &skip);
}

static void through_vdso(uint64_t n)
{
	struct sgx_enclave_run run;

	running = (struct op){ .what = DO_FORBIDDEN, .value = n, .result = 2 };
	CHECK(vdso_call(host_tcs(&e, 0), EENTER, &running, &run) == 0);
	if (run.function != ERESUME || run.exception_vector != UD)
		fprintf(stderr, "instruction %d: function %u, vector %u\n", (int)n,
			run.function, run.exception_vector);
	CHECK(run.function == ERESUME && run.exception_vector == UD);
	CHECK(run.exception_error_code == 0 && run.exception_addr == 0);
	step_over();
	CHECK(vdso_call(host_tcs(&e, 0), ERESUME, &running, &run) == 0);
	CHECK(run.function == EEXIT && running.result == 0);
}

static void on_ill(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGILL && info->si_code == ILL_ILLOPN);
	CHECK(info->si_addr == own_aep);
	CHECK(GREG(context, TRAPNO) == UD && GREG(context, ERR) == 0);
	check_synthetic(context, host_tcs(&e, 0), own_aep);
	traps++;
	step_over();
}

static void never(int signo)
{
	fprintf(stderr, "signal %d\n", signo);
	_exit(1);
}

static void with_handler(uint64_t n)
{
	running = (struct op){ .what = DO_FORBIDDEN, .value = n, .result = 2 };
	CHECK(own_enter(&running, host_tcs(&e, 0)) == (uint64_t)own_aep);
	CHECK(running.result == 0);
}

static void syscall_in_child(void)
{
	through_vdso(SYSCALL);
	CHECK(getppid() > 1);
}

static void every_one(const char *enclave)
{
	e = host_load(enclave);
	traps = 0;
	for (uint64_t n = 0; n < STUBS; n++) {
		through_vdso(n);
		with_handler(n);
		CHECK(traps == (int)n + 1);
	}
	/* Outside, system calls are served as ever. */
	CHECK(getppid() > 1);
	CHECK(status_of(syscall_in_child) == 0);
}

int main(void)
{
	catch_signal(SIGILL, on_ill, 0);
	signal(SIGSEGV, never);
	signal(SIGTRAP, never);
	signal(SIGSYS, never);
	every_one("3");
	every_one("debug");
	return 0;
}
