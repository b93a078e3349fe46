/* Calls, asynchronous exits and pages of known numbers, for those who count them:
 * counted CALLS EXITS PAGES.  Then a thread stays inside until stdin ends; the line on
 * stdout has EENTERs, EEXITs and exits by then.
 */
#include "host.h"

#define FRESH (SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING)

static struct enclave e;

static void make_pages(uint64_t pages)
{
	uint64_t at = e.base + SPARE;

	CHECK(mmap((void *)at, (pages + 1) * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) == (void *)at);
	for (; pages--; at += PAGE)
		CHECK(vdso_ask(host_tcs(&e, 0), DO_ENCLU, at, EACCEPT, FRESH) == 0);
}

static void exit_once(void)
{
	struct op op = { .what = DO_DIVIDE }, ask = { .what = DO_SKIP, .value = 2 };
	struct sgx_enclave_run run;

	CHECK(vdso_call(host_tcs(&e, 0), EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == 0);
	vdso_do(host_tcs(&e, 0), &ask);
	CHECK(vdso_call(host_tcs(&e, 0), ERESUME, &op, &run) == 0);
	CHECK(run.function == EEXIT);
}

int main(int argc, char **argv)
{
	uint64_t calls = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
	uint64_t exits = argc > 2 ? strtoul(argv[2], NULL, 10) : 10;
	uint64_t pages = argc > 3 ? strtoul(argv[3], NULL, 10) : 20;
	struct op nothing = { .what = DO_NOTHING };
	uint64_t ended = pages + calls + 2 * exits;
	struct inside in = { 0 };
	char byte;

	e = host_load("3");
	make_pages(pages);
	for (uint64_t i = 0; i < calls; i++)
		vdso_do(host_tcs(&e, 1 + i % 3), &nothing);
	for (uint64_t i = 0; i < exits; i++)
		exit_once();
	in.tcs = host_tcs(&e, 5);
	in.op.what = DO_COUNT;
	inside_start(&in);
	printf("%lu %lu %lu\n", ended + 1, ended, exits);
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	inside_wait(&in);
	return 0;
}
