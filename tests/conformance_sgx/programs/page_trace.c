/* A host that takes pages of its enclave away, and gives each back at the fault: so it
 * learns which pages the enclave touches, and in which order.
 */
#include "host.h"

#define PAGES 4ul
#define PAGE_OF(address) ((address) & ~4095ul)

static uint64_t data;
static struct { uint64_t address; long error; } trace[64];
static volatile unsigned int length;

static int rights(uint64_t page)
{
	return page - data < PAGES * PAGE ? PROT_READ | PROT_WRITE : PROT_READ | PROT_EXEC;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	uint64_t address = (uint64_t)info->si_addr;

	CHECK(number == SIGSEGV && info->si_code == SEGV_ACCERR);
	CHECK(GREG(context, RIP) == (greg_t)(uintptr_t)own_aep);
	CHECK(GREG(context, TRAPNO) == PF && length < 64);
	trace[length].address = address;
	trace[length++].error = (long)GREG(context, ERR);
	CHECK(mprotect((void *)PAGE_OF(address), PAGE, rights(address)) == 0);
}

static void ask(uint64_t tcs, uint64_t what, uint64_t address)
{
	struct op op = { .what = what, .address = address, .value = 7 };

	own_enter(&op, tcs);
	if (what == DO_READ)
		CHECK(op.result == 7);
}

/* An enclave tells nobody where in a page it was. */
static void check_trace(unsigned int n, uint64_t address, long error)
{
	CHECK(n < length);
	CHECK(trace[n].address == PAGE_OF(address));
	CHECK(trace[n].error == error);
}

static void touched(uint64_t tcs)
{
	for (uint64_t page = 0; page < PAGES; page++)
		ask(tcs, DO_WRITE, data + page * PAGE + 123);
	CHECK(length == 0);
	for (int round = 0; round < 20; round++) {
		length = 0;
		CHECK(mprotect((void *)data, PAGES * PAGE, PROT_NONE) == 0);
		ask(tcs, DO_READ, data + 3 * PAGE + 123);
		ask(tcs, DO_READ, data + 1 * PAGE + 123);
		ask(tcs, DO_READ, data + 3 * PAGE + 123);
		CHECK(mprotect((void *)data, PAGES * PAGE, PROT_READ) == 0);
		ask(tcs, DO_READ, data + 123);
		ask(tcs, DO_WRITE, data + 2 * PAGE + 123);
		CHECK(length == 3);
		check_trace(0, data + 3 * PAGE, PF_U);
		check_trace(1, data + PAGE, PF_U);
		check_trace(2, data + 2 * PAGE, PF_U | PF_W | PF_P);
		CHECK(mprotect((void *)data, PAGES * PAGE, PROT_READ | PROT_WRITE) == 0);
	}
}

int main(void)
{
	struct enclave e = host_load("3");
	uint64_t tcs = host_tcs(&e, 0), code;

	data = vdso_ask(tcs, DO_AREA, 0, 0, 0) + AREA;
	data = PAGE_OF(data + PAGE);
	code = vdso_ask(tcs, DO_ENTRY, 0, 0, 0);
	catch_signal(SIGSEGV, on_fault, 0);
	touched(tcs);
	length = 0;
	CHECK(mprotect((void *)PAGE_OF(code), PAGE, PROT_READ) == 0);
	ask(tcs, DO_READ, data + 123);
	CHECK(length == 1);
	check_trace(0, code, PF_U | PF_P | 0x10);
	return 0;
}
