/* What a program's handlers see of an exception inside an enclave that it entered by
 * its own ENCLU, and that returning from the handler resumes the enclave.
 *
 * link: all
 */
#include "host.h"

static struct enclave e;
static struct op ask;
static int caught;
static struct {
	int signo, code, vector;
	uint64_t address, error, cr2;
	uint64_t skip;		/* bytes of the instruction; 0: give the page back */
} want;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;

	/* RFLAGS.AC is as the enclave left it, and C is no code for that. */
	__asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" : : : "cc", "memory");
	CHECK(signo == want.signo && info->si_signo == want.signo);
	CHECK(info->si_code == want.code);
	CHECK((uint64_t)info->si_addr == want.address);
	check_synthetic(uc, host_tcs(&e, 0), own_aep);
	CHECK((uint64_t)uc->uc_mcontext.gregs[REG_RSP] == own_stack[0]);
	CHECK((uint64_t)uc->uc_mcontext.gregs[REG_RBP] == own_stack[1]);
	CHECK(uc->uc_mcontext.gregs[REG_TRAPNO] == want.vector);
	CHECK((uint64_t)uc->uc_mcontext.gregs[REG_ERR] == want.error);
	if (want.vector == PF)
		CHECK((uint64_t)uc->uc_mcontext.gregs[REG_CR2] == want.cr2);
	caught++;
	if (want.skip) {
		ask = (struct op){ .what = DO_SKIP, .value = want.skip };
		own_enter(&ask, host_tcs(&e, 0));	/* at CSSA 1 */
		return;
	}
	CHECK(mprotect((void *)want.address, PAGE, PROT_READ | PROT_WRITE) == 0);
}

static void expect(int signo, int code, uint64_t address, int vector, uint64_t error)
{
	want.signo = signo;
	want.code = code;
	want.address = want.cr2 = address;
	want.vector = vector;
	want.error = error;
}

static void enter(uint64_t what, uint64_t address, uint64_t skip)
{
	struct op op = { .what = what, .address = address, .value = 0x5a };

	want.skip = skip;
	caught = 0;
	CHECK(own_enter(&op, host_tcs(&e, 0)) == (uint64_t)own_aep);
	CHECK(caught == 1);
}

int main(void)
{
	uint64_t page, outside, aep = (uint64_t)own_aep;

	e = host_load("3");
	page = e.base + SPARE - PAGE;	/* of nothing yet: see below */
	outside = (uint64_t)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(*(volatile char *)outside == 0);
	catch_signal(SIGFPE, on_fault, 0);
	catch_signal(SIGILL, on_fault, 0);
	catch_signal(SIGSEGV, on_fault, SA_NODEFER);
	catch_signal(SIGBUS, on_fault, 0);

	expect(SIGFPE, FPE_INTDIV, aep, 0, 0);
	enter(DO_DIVIDE, 0, 2);
	expect(SIGILL, ILL_ILLOPN, aep, 6, 0);
	enter(DO_UNDEFINED, 0, 2);
	expect(SIGSEGV, SI_KERNEL, 0, 13, 0);
	enter(DO_PROTECTED, 0, 1);
	expect(SIGILL, ILL_ILLOPN, aep, 6, 0);
	enter(DO_BREAK, 0, 1);
	expect(SIGBUS, SI_KERNEL, 0, 12, 0);
	enter(DO_STACK, 0, 3);
	expect(SIGBUS, BUS_ADRALN, 0, 17, 0);
	enter(DO_MISALIGNED, 0, 6);
	/* Linux judges by the registers that the exit leaves. */
	expect(SIGFPE, FPE_FLTINV, aep, 16, 0);
	enter(DO_X87, 0, 1);
	expect(SIGFPE, FPE_FLTINV, aep, 19, 0);
	enter(DO_SSE, 0, 3);
	/* The host's page, read-only: the address without its lower bits. */
	expect(SIGSEGV, SEGV_ACCERR, outside, PF, PF_P | PF_W | PF_U);
	enter(DO_WRITE, outside + 0x123, 0);
	CHECK(*(volatile char *)(outside + 0x123) == 0x5a);
	/* The enclave's own page, mapped read-only. */
	page = e.base + SPARE;
	CHECK(mmap((void *)page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, e.fd,
		   0) == (void *)page);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENCLU, page, EACCEPT,
		       SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING) == 0);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_READ, page, 0, 0) == 0);
	CHECK(mprotect((void *)page, PAGE, PROT_READ) == 0);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_READ, page, 0, 0) == 0);
	expect(SIGSEGV, SEGV_ACCERR, page, PF, PF_P | PF_W | PF_U);
	enter(DO_WRITE, page + 0x456, 0);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_READ, page + 0x456, 0, 0) == 0x5a);
	return 0;
}
