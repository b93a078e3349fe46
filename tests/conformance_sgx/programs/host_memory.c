/* Faults inside on the host's own memory are what the kernel says of that memory; the
 * exit hides where in the page.  Not SGX's affair: no SGX bit, no MAPERR for all. */
#include "host.h"

#include <setjmp.h>

static struct enclave e;
static sigjmp_buf back;
static siginfo_t got;
static volatile uint64_t error, address;
static unsigned int thread;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	got = *info;
	error = GREG(context, ERR);
	address = GREG(context, CR2);
	CHECK(GREG(context, RIP) == (greg_t)(uintptr_t)own_aep);
	siglongjmp(back, 1);
}

static void expect(uint64_t what, uint64_t at, int signo, int code, uint64_t told)
{
	struct op op = { .what = what, .address = at + 5 };
	struct sgx_enclave_run run;

	/* By a signal, with an entry of one's own. */
	got.si_signo = 0;
	if (sigsetjmp(back, 1) == 0)
		own_enter(&op, host_tcs(&e, thread++));
	CHECK(got.si_signo == signo && got.si_code == code);
	CHECK((uint64_t)got.si_addr == at && address == at && error == told);
	/* Through the vDSO. */
	CHECK(vdso_call(host_tcs(&e, thread++), EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == PF);
	CHECK(run.exception_error_code == told && run.exception_addr == at);
}

int main(void)
{
	int fd = memfd_create("short", MFD_CLOEXEC);
	uint8_t *page = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	e = host_load("3");
	catch_signal(SIGSEGV, on_fault, 0);
	catch_signal(SIGBUS, on_fault, 0);
	page[0] = 1;
	CHECK(mprotect(page, PAGE, PROT_READ) == 0);
	CHECK(mprotect(page + PAGE, PAGE, PROT_NONE) == 0);
	CHECK(munmap(page + 2 * PAGE, PAGE) == 0);
	expect(DO_WRITE, (uint64_t)page, SIGSEGV, SEGV_ACCERR, PF_P | PF_W | PF_U);
	expect(DO_READ, (uint64_t)page + PAGE, SIGSEGV, SEGV_ACCERR, PF_U);
	expect(DO_WRITE, (uint64_t)page + PAGE, SIGSEGV, SEGV_ACCERR, PF_W | PF_U);
	expect(DO_READ, (uint64_t)page + 2 * PAGE, SIGSEGV, SEGV_MAPERR, PF_U);
	expect(DO_READ, 0xffffffff81000000, SIGSEGV, SEGV_MAPERR, PF_P | PF_U);
	/* A file that ends before the mapping does. */
	CHECK(mmap(page, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == page);
	expect(DO_READ, (uint64_t)page, SIGBUS, BUS_ADRERR, PF_U);
	return 0;
}
