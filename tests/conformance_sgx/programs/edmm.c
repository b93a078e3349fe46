/* Pages that come, change and go while the enclave runs: what the enclave sees of it.
 *
 * link: all
 */
#include "host.h"

#define RW (SECINFO_R | SECINFO_W)
#define FRESH (SECINFO_REG | RW | SECINFO_PENDING)
#define PR 0x20
#define MODIFIED 0x10
#define TRIM 0x400
#define ATTRIBUTES_MISMATCH 19
#define ZF 0x40
#define EMODPE 6

static struct enclave e;
static uint64_t tcs, other;

static uint64_t map(uint64_t n, int prot)
{
	uint64_t page = e.base + SPARE + n * PAGE;

	CHECK(mmap((void *)page, PAGE, prot, MAP_SHARED | MAP_FIXED, e.fd, 0) ==
	      (void *)page);
	return page;
}

static void accept(uint64_t page, uint64_t flags, uint64_t code)
{
	struct op op = { .what = DO_ENCLU, .address = page, .value = EACCEPT,
			 .size = flags };

	vdso_do(other, &op);
	CHECK(op.result == code);
	CHECK(!!(op.flags & ZF) == !!code);
}

/* The access stops with a page fault; `then` makes it possible, and it goes on. */
static void faults(struct op op, uint16_t code, void (*then)(uint64_t page))
{
	struct sgx_enclave_run run;

	CHECK(vdso_call(tcs, EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == PF);
	CHECK(run.exception_error_code == code);
	CHECK(run.exception_addr == (op.address & ~(PAGE - 1ull)));
	then(run.exception_addr);
	CHECK(vdso_call(tcs, ERESUME, &op, &run) == 0);
	CHECK(run.function == EEXIT);
}

static void accept_fresh(uint64_t page)
{
	accept(page, FRESH, 0);
}

static void extend(uint64_t page)
{
	CHECK(vdso_ask(other, DO_ENCLU, page, EMODPE, RW) == EMODPE);
}

static void restrict_to(uint64_t page, uint64_t permissions)
{
	struct sgx_enclave_restrict_permissions arg = {
		.offset = page - e.base, .length = PAGE, .permissions = permissions,
	};

	CHECK(ioctl(e.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &arg) == 0);
	CHECK(arg.result == 0 && arg.count == PAGE);
}

static void modify(uint64_t page, uint64_t type)
{
	struct sgx_enclave_modify_types arg = {
		.offset = page - e.base, .length = PAGE, .page_type = type,
	};

	CHECK(ioctl(e.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &arg) == 0);
	CHECK(arg.result == 0 && arg.count == PAGE);
}

static void remove_page(uint64_t page)
{
	struct sgx_enclave_remove_pages arg = { .offset = page - e.base, .length = PAGE };

	CHECK(ioctl(e.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, &arg) == 0 && arg.count == PAGE);
}

static void added(void)
{
	uint64_t page = map(0, PROT_READ | PROT_WRITE);

	/* By touch: the page is there at once, but pending. */
	faults((struct op){ .what = DO_WRITE, .address = page + 9, .value = 1 },
	       PF_SGX | PF_U | PF_W | PF_P, accept_fresh);
	CHECK(vdso_ask(tcs, DO_READ, page + 9, 0, 0) == 1);
	CHECK(vdso_ask(tcs, DO_READ, page, 0, 0) == 0);
	/* By EACCEPT. */
	page = map(1, PROT_READ | PROT_WRITE);
	accept(page, FRESH | SECINFO_X, ATTRIBUTES_MISMATCH);
	accept(page, SECINFO_REG | RW | PR, ATTRIBUTES_MISMATCH);
	faults((struct op){ .what = DO_READ, .address = page }, PF_SGX | PF_U | PF_P,
	       accept_fresh);
	accept(page, FRESH, ATTRIBUTES_MISMATCH);
}

static void restricted(void)
{
	uint64_t page = e.base + SPARE;

	restrict_to(page, SECINFO_R);
	accept(page, SECINFO_REG | SECINFO_R | PR, 0);
	CHECK(vdso_ask(tcs, DO_READ, page + 9, 0, 0) == 1);
	faults((struct op){ .what = DO_WRITE, .address = page, .value = 2 },
	       PF_SGX | PF_U | PF_W | PF_P, extend);
	CHECK(vdso_ask(tcs, DO_READ, page, 0, 0) == 2);
	/* Not executable: the page tables say so before EPCM does. */
	CHECK(mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
	vdso_ask(tcs, DO_WRITE, page, 0xc3, 0);
	CHECK(vdso_ask(other, DO_ENCLU, page, EMODPE, RW | SECINFO_X) == EMODPE);
	vdso_ask(tcs, DO_CALL, page, 0, 0);
}

static void removed(void)
{
	struct sgx_enclave_run run;
	uint64_t page = e.base + SPARE + PAGE;
	struct op op = { .what = DO_READ, .address = page };

	modify(page, 4);
	CHECK(vdso_call(tcs, EENTER, &op, &run) == 0 && run.function == ERESUME);
	CHECK(run.exception_error_code == (PF_SGX | PF_U | PF_P));
	accept(page, TRIM | MODIFIED, 0);
	remove_page(page);
	/* Touched again, a new page comes: the read goes on when it is accepted. */
	CHECK(vdso_call(tcs, ERESUME, &op, &run) == 0 && run.function == ERESUME);
	CHECK(run.exception_error_code == (PF_SGX | PF_U | PF_P));
	accept(page, FRESH, 0);
	CHECK(vdso_call(tcs, ERESUME, &op, &run) == 0 && run.function == EEXIT);
	CHECK(op.result == 0);
}

static void give_back(uint64_t page)
{
	CHECK(mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE) == 0);
	CHECK(vdso_ask(other, DO_ENCLU, page, EMODPE, RW) == EMODPE);
}

/* As the SDK restricts: the mapping loses the right too, before the enclave accepts.  It
 * is the page tables that refuse then, and the page has been in them all the time. */
static void restricted_with_its_mapping(void)
{
	uint64_t page = map(3, PROT_READ | PROT_WRITE);

	accept(page, FRESH, 0);
	restrict_to(page, SECINFO_R);
	CHECK(mprotect((void *)page, PAGE, PROT_READ) == 0);
	accept(page, SECINFO_REG | SECINFO_R | PR, 0);
	faults((struct op){ .what = DO_WRITE, .address = page + 7, .value = 3 },
	       PF_U | PF_W | PF_P, give_back);
	CHECK(vdso_ask(tcs, DO_READ, page + 7, 0, 0) == 3);
}

/* A page of data becomes a TCS, is entered, and ends. */
static void new_thread(void)
{
	uint64_t page = map(2, PROT_READ | PROT_WRITE);

	accept(page, FRESH, 0);
	vdso_ask(tcs, DO_TCS, page, 5, 0);
	modify(page, 1);
	accept(page, SECINFO_TCS | MODIFIED, 0);
	for (int i = 0; i < 3; i++)
		CHECK(vdso_ask(page, DO_READ, e.base + SPARE + 9, 0, 0) == 1);
	modify(page, 4);
	accept(page, TRIM | MODIFIED, 0);
	remove_page(page);
}

int main(void)
{
	e = host_load("3");
	tcs = host_tcs(&e, 0);
	other = host_tcs(&e, 1);
	added();
	restricted();
	restricted_with_its_mapping();
	removed();
	new_thread();
	return 0;
}
