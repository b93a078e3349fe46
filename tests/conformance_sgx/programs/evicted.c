/* What is done to pages of an enclave is done to those that were evicted too: they are
 * restricted, extended, inherited, unmapped and mapped again, trimmed and removed.
 *
 * Meant for an EPC of 1 MiB; with a larger one it passes too.
 */
#include "host.h"

#define RW (SECINFO_R | SECINFO_W)
#define FRESH (SECINFO_REG | RW | SECINFO_PENDING)
#define MODIFIED 0x10
#define PR 0x20
#define TRIM 0x400
#define EMODPE 6
#define PAGES 400ul
#define TRIMMED 50ul

static struct enclave e;

static uint64_t page(uint64_t n)
{
	return e.base + SPARE + n * PAGE;
}

static void map(uint64_t n, uint64_t count)
{
	CHECK(mmap((void *)page(n), count * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) == (void *)page(n));
}

static void accept(uint64_t n, uint64_t flags)
{
	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENCLU, page(n), EACCEPT, flags) == 0);
}

static void store(uint64_t round)
{
	for (uint64_t n = 0; n < PAGES; n++)
		vdso_ask(host_tcs(&e, 0), DO_STORE, page(n), n << 32 | round, 0);
}

static void check(uint64_t round)
{
	for (uint64_t n = 0; n < PAGES; n++)
		CHECK(vdso_ask(host_tcs(&e, 0), DO_LOAD, page(n), 0, 0) ==
		      (n << 32 | round));
}

static void child(void)
{
	check(2);
	vdso_ask(host_tcs(&e, 0), DO_STORE, page(7), 77, 0);
	_exit(3);
}

static void restrict_and_extend(void)
{
	struct sgx_enclave_restrict_permissions restricted = {
		.offset = SPARE, .length = PAGES * PAGE, .permissions = SECINFO_R,
	};

	CHECK(!ioctl(e.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restricted));
	CHECK(restricted.count == PAGES * PAGE && !restricted.result);
	for (uint64_t n = 0; n < PAGES; n++)
		accept(n, SECINFO_REG | SECINFO_R | PR);
	check(1);
	for (uint64_t n = 0; n < PAGES; n++)
		CHECK(vdso_ask(host_tcs(&e, 0), DO_ENCLU, page(n), EMODPE, RW) == EMODPE);
}

static void trim_and_remove(void)
{
	struct sgx_enclave_modify_types trim = {
		.offset = SPARE, .length = TRIMMED * PAGE, .page_type = TRIM >> 8,
	};
	struct sgx_enclave_remove_pages remove = {
		.offset = SPARE, .length = TRIMMED * PAGE,
	};

	CHECK(!ioctl(e.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &trim));
	CHECK(trim.count == TRIMMED * PAGE && !trim.result);
	for (uint64_t n = 0; n < TRIMMED; n++)
		accept(n, TRIM | MODIFIED);
	for (uint64_t n = TRIMMED; n < PAGES; n++)
		vdso_ask(host_tcs(&e, 0), DO_LOAD, page(n), 0, 0);
	CHECK(!ioctl(e.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, &remove));
	CHECK(remove.count == TRIMMED * PAGE);
	for (uint64_t n = 0; n < TRIMMED; n++) {
		accept(n, FRESH);
		CHECK(vdso_ask(host_tcs(&e, 0), DO_LOAD, page(n), 0, 0) == 0);
	}
}

int main(void)
{
	e = host_load("3");
	map(0, PAGES);
	for (uint64_t n = 0; n < PAGES; n++)
		accept(n, FRESH);
	store(1);
	restrict_and_extend();
	store(2);
	CHECK(WEXITSTATUS(status_of(child)) == 3);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_LOAD, page(7), 0, 0) == 77);
	store(3);
	CHECK(!munmap((void *)page(PAGES / 2), PAGES / 2 * PAGE));
	map(PAGES / 2, PAGES / 2);
	check(3);
	trim_and_remove();
	return 0;
}
