/* Host code that touches pages of an enclave, while none of its threads is inside, reads
 * ones; what it writes is lost, and the enclave finds its own data.
 *
 * link: all
 */
#include "host.h"

#include <setjmp.h>

#define RW (SECINFO_R | SECINFO_W)
#define FRESH (SECINFO_REG | RW | SECINFO_PENDING)
#define SECRET 0x1122334455667788ull

static struct enclave e;
static uint64_t mine, all, data; /* a thread's area, and pages of data in a row */
static size_t many;
static sigjmp_buf back;
static volatile int signo, code;
static volatile uint64_t looked, found;

static int are_ones(const void *at, size_t size)
{
	const volatile uint8_t *byte = at;

	for (size_t i = 0; i < size; i++)
		if (byte[i] != 0xff)
			return 0;
	return 1;
}

static uint64_t inside(void)
{
	return vdso_ask(host_tcs(&e, 0), DO_LOAD, mine, 0, 0);
}

/* Every way of reading and writing that host code has, on pages of a writable segment. */
static void touch_data(void)
{
	static uint8_t copy[0x20000];
	volatile uint64_t *word = (volatile uint64_t *)mine;
	uint64_t old = 5;

	*word = 1;		/* a write that comes first */
	CHECK(*word == ~0ull);
	*word = 2;		/* and one behind a read */
	CHECK(*word == ~0ull);
	CHECK(!__atomic_compare_exchange_n((uint64_t *)mine, &old, 3, 0, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST) && old == ~0ull);
	CHECK(__atomic_fetch_add((uint64_t *)mine, 1, __ATOMIC_SEQ_CST) == ~0ull);
	CHECK(*word == ~0ull);
	memset(copy, 0, sizeof(copy));
	memcpy(copy, (void *)data, many);
	CHECK(are_ones(copy, many) && copy[many] == 0);
	memset((void *)data, 0x5a, many);
	memcpy((void *)(data + 3), copy + 8, many - 8);
	CHECK(are_ones((void *)data, many));
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	signo = number;
	code = info->si_code;
	siglongjmp(back, 1);
}

/* No instruction begins with two bytes of ones. */
static void call(uint64_t address)
{
	signo = 0;
	if (sigsetjmp(back, 1) == 0)
		((void (*)(void))address)();
	CHECK(signo == SIGILL && code == ILL_ILLOPN);
}

/* The handler of an asynchronous exit is host code too. */
static void on_exit_look(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	CHECK(GREG(context, RIP) == (greg_t)(uintptr_t)own_aep);
	found = *(volatile uint64_t *)mine;
	*(volatile uint64_t *)mine = 9;
	found &= *(volatile uint64_t *)e.base;
	looked++;
	siglongjmp(back, 1);
}

static void after_an_exit(void)
{
	struct op op = { .what = DO_UNDEFINED };

	catch_signal(SIGILL, on_exit_look, 0);
	looked = 0;
	if (sigsetjmp(back, 1) == 0)
		own_enter(&op, host_tcs(&e, 1));
	CHECK(looked == 1 && found == ~0ull);
	catch_signal(SIGILL, on_fault, 0);
}

static void child(void)
{
	touch_data();
	CHECK(inside() == SECRET);
	touch_data();
	vdso_ask(host_tcs(&e, 0), DO_STORE, mine, SECRET + 1, 0);
	_exit(3);
}

static uint64_t add(unsigned int n)
{
	uint64_t page = e.base + SPARE + n * PAGE;

	CHECK(mmap((void *)page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, e.fd,
		   0) == (void *)page);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENCLU, page, EACCEPT, FRESH) == 0);
	return page;
}

static void with_new_pages(void)
{
	uint64_t page = add(0), next;

	CHECK(are_ones((void *)page, PAGE));
	*(volatile uint8_t *)page = 1;
	CHECK(vdso_ask(host_tcs(&e, 0), DO_READ, page, 0, 0) == 0);
	CHECK(are_ones((void *)page, PAGE));
	/* Pages that the enclave may not execute: the mapping decides what the host meets. */
	signo = 0;
	if (sigsetjmp(back, 1) == 0)
		((void (*)(void))page)();
	CHECK(signo == SIGSEGV && code == SEGV_ACCERR);
	CHECK(mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
	call(page);
	CHECK(mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE) == 0);
	/* One more, while ones are shown beside it. */
	next = add(1);
	vdso_ask(host_tcs(&e, 0), DO_WRITE, next, 0x33, 0);
	CHECK(are_ones((void *)page, 2 * PAGE));
	/* What the host maps there is the host's. */
	CHECK(mmap((void *)page, PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (void *)page);
	*(volatile uint8_t *)page = 0x44;
	CHECK(are_ones((void *)next, PAGE));
	CHECK(vdso_ask(host_tcs(&e, 0), DO_READ, page, 0, 0) == 0x44);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_READ, next, 0, 0) == 0x33);
	CHECK(*(volatile uint8_t *)page == 0x44);
	CHECK(are_ones((void *)next, PAGE));
}

/* Protections and holes that come while ones are shown. */
static void with_changes(void)
{
	uint64_t page = data + PAGE;

	CHECK(are_ones((void *)data, 3 * PAGE));
	CHECK(mprotect((void *)page, PAGE, PROT_READ) == 0);
	signo = 0;
	if (sigsetjmp(back, 1) == 0)
		*(volatile uint8_t *)page = 1;
	CHECK(signo == SIGSEGV && code == SEGV_ACCERR);
	CHECK(are_ones((void *)data, 3 * PAGE));
	CHECK(mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE) == 0);
	*(volatile uint8_t *)page = 1;
	CHECK(are_ones((void *)data, 3 * PAGE));
	CHECK(inside() == SECRET + 1);
	CHECK(are_ones((void *)data, 3 * PAGE));
	CHECK(munmap((void *)page, PAGE) == 0);
	signo = 0;
	if (sigsetjmp(back, 1) == 0)
		(void)*(volatile uint8_t *)page;
	CHECK(signo == SIGSEGV && code == SEGV_MAPERR);
	CHECK(are_ones((void *)data, PAGE));
	CHECK(inside() == SECRET + 1);
}

int main(void)
{
	e = host_load("3");
	catch_signal(SIGILL, on_fault, 0);
	catch_signal(SIGSEGV, on_fault, 0);
	/* Nobody was ever inside: a TCS, and code. */
	for (all = 0; all < THREADS; all++)
		CHECK(are_ones((void *)host_tcs(&e, all), 64));
	*(volatile uint64_t *)host_tcs(&e, 0) = 0;
	call(host_tcs(&e, THREADS));
	CHECK(are_ones((void *)host_tcs(&e, THREADS), PAGE));
	/* Areas of other threads lie behind the first one's. */
	mine = vdso_ask(host_tcs(&e, 0), DO_AREA, 0, 0, 0) + AREA + 0x1000;
	data = mine + PAGE;
	many = 5 * PAGE;
	vdso_ask(host_tcs(&e, 0), DO_STORE, mine, SECRET, 0);
	for (int i = 0; i < 3; i++) {
		touch_data();
		call(host_tcs(&e, THREADS));
		CHECK(inside() == SECRET);
	}
	after_an_exit();
	CHECK(inside() == SECRET);
	CHECK(WEXITSTATUS(status_of(child)) == 3);
	CHECK(inside() == SECRET + 1);
	with_new_pages();
	with_changes();
	return 0;
}
