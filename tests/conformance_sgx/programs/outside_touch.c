/* The host touches its enclave from outside: pages that are not there come, or SIGBUS
 * says that they cannot; a page of the enclave is no place to read. */
#include "host.h"

static volatile struct {
	int signo, code;
	uint64_t address;
} seen;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)context;
	seen.signo = signo;
	seen.code = info->si_code;
	seen.address = (uint64_t)info->si_addr;
	/* Give the access something to end on. */
	CHECK(mmap((void *)(seen.address & ~(PAGE - 1ull)), PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
}

static void touch(uint64_t address, int signo, int code)
{
	seen.signo = 0;
	(void)*(volatile uint8_t *)address;
	if (seen.signo != signo || seen.code != code || seen.address != address)
		fprintf(stderr, "%#lx: signal %d, code %d, at %#lx\n", address, seen.signo,
			seen.code, seen.address);
	CHECK(seen.signo == signo && seen.code == code && seen.address == address);
}

int main(void)
{
	struct secs secs = { .ssaframesize = 1, .attributes = 4, .xfrm = 3 };
	struct enclave e = enclave_create(0x10000, &secs), whole = host_load("3");
	uint64_t page = whole.base + SPARE;

	catch_signal(SIGBUS, on_fault, 0);
	catch_signal(SIGSEGV, on_fault, 0);
	/* Not initialized: nothing can be added by a touch. */
	CHECK(mmap((void *)e.base, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		   e.fd, 0) == (void *)e.base);
	touch(e.base + 8, SIGBUS, BUS_ADRERR);
	/* PROT_NONE is PROT_NONE. */
	CHECK(mprotect((void *)whole.base, PAGE, PROT_NONE) == 0);
	touch(whole.base + 8, SIGSEGV, SEGV_ACCERR);
	/* A touch adds the page, though it is the host's: the enclave finds it pending. */
	CHECK(mmap((void *)page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		   whole.fd, 0) == (void *)page);
	seen.signo = 0;
	CHECK(*(volatile uint8_t *)page == 0xff && seen.signo == 0);
	*(volatile uint8_t *)page = 0x12;	/* lost */
	CHECK(seen.signo == 0);
	CHECK(vdso_ask(host_tcs(&whole, 1), DO_ENCLU, page, EACCEPT,
		       SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING) == 0);
	CHECK(vdso_ask(host_tcs(&whole, 1), DO_READ, page, 0, 0) == 0);
	return 0;
}
