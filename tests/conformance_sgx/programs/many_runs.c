/* An enclave whose pages differ in what they allow, one from the next: it works as others
 * do, for several threads at once, and host code sees ones before and after.
 */
#include "host.h"

#define PAGES 200ul
#define CALLS 100

static struct enclave e;

static uint64_t page(uint64_t n)
{
	return host_spare(&e, n);
}

static void fill(uint64_t tcs)
{
	host_fill(&e, tcs, PAGES);
	for (uint64_t n = 0; n < PAGES; n += 2)
		CHECK(mprotect((void *)page(n), PAGE, PROT_READ) == 0);
}

static void look(void)
{
	for (uint64_t n = 0; n < PAGES; n++)
		CHECK(*(volatile uint64_t *)page(n) == ~0ull);
}

/* Stops at a write where only reads are allowed, and goes on when they are. */
static void write_late(uint64_t tcs, uint64_t n)
{
	struct op op = { .what = DO_STORE, .address = page(n), .value = n + 1 };
	struct sgx_enclave_run run;

	CHECK(vdso_call(tcs, EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == PF);
	CHECK(run.exception_error_code == (PF_P | PF_W | PF_U));
	CHECK(run.exception_addr == page(n));
	CHECK(mprotect((void *)page(n), PAGE, PROT_READ | PROT_WRITE) == 0);
	CHECK(vdso_call(tcs, ERESUME, &op, &run) == 0 && run.function == EEXIT);
	CHECK(mprotect((void *)page(n), PAGE, PROT_READ) == 0);
}

int main(void)
{
	struct inside other = { .op = { .what = DO_SPIN } };
	uint64_t tcs;

	e = host_load("3");
	tcs = host_tcs(&e, 0);
	fill(tcs);
	look();
	for (uint64_t n = 0; n < PAGES; n++)
		CHECK(vdso_ask(tcs, DO_LOAD, page(n), 0, 0) == n + 1);
	for (int i = 0; i < CALLS; i++)
		vdso_ask(tcs, DO_NOTHING, 0, 0, 0);
	look();
	other.tcs = host_tcs(&e, 1);
	inside_start(&other);
	for (uint64_t n = 0; n < PAGES; n++)
		(void)*(volatile uint64_t *)page(n);
	for (uint64_t n = 0; n < PAGES; n += 10) {
		write_late(tcs, n);
		vdso_ask(tcs, DO_STORE, page(n + 1), n + 2, 0);
	}
	other.op.stop = 1;
	inside_wait(&other);
	CHECK(other.op.result == 1);
	look();
	for (uint64_t n = 0; n < PAGES; n++)
		CHECK(vdso_ask(tcs, DO_LOAD, page(n), 0, 0) == n + 1);
	return 0;
}
