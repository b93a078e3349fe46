/* Host code writes to pages that an enclave only reads, in turns: inside they stay what
 * they are.
 */
#include "host.h"

#define ROUNDS 1000
#define RW (SECINFO_R | SECINFO_W)
#define FRESH (SECINFO_REG | RW | SECINFO_PENDING)
#define PR 0x20

static struct enclave e;
static uint64_t at[2];
static const uint64_t there[2] = { 0x1111111111111111, 0x2222222222222222 };

static void accept(uint64_t address, uint64_t flags)
{
	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENCLU, address, EACCEPT, flags) == 0);
}

/* They are mapped to be written, and the enclave cannot. */
static void make_pages(void)
{
	struct sgx_enclave_restrict_permissions restricted = {
		.offset = SPARE, .length = 2 * PAGE, .permissions = SECINFO_R,
	};

	CHECK(mmap((void *)(e.base + SPARE), 2 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) == (void *)(e.base + SPARE));
	for (uint64_t i = 0; i < 2; i++) {
		at[i] = e.base + SPARE + i * PAGE + PAGE - 8;
		accept(at[i] & -(uint64_t)PAGE, FRESH);
		vdso_ask(host_tcs(&e, 0), DO_STORE, at[i], there[i], 0);
	}
	CHECK(!ioctl(e.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restricted));
	for (int i = 0; i < 2; i++)
		accept(at[i] & -(uint64_t)PAGE, SECINFO_REG | SECINFO_R | PR);
}

int main(void)
{
	struct inside in[2];

	e = host_load("3");
	make_pages();
	for (unsigned int i = 0; i < 2; i++) {
		in[i] = (struct inside){
			.tcs = host_tcs(&e, i),
			.op = { .what = DO_WATCH, .address = at[i], .value = there[i],
				/* The host's own words: see docs/not-emulated.md */
				.size = ROUNDS },
		};
		inside_start(&in[i]);
	}
	for (uint64_t round = 1; round <= ROUNDS; round++)
		for (int i = 0; i < 2; i++)
			*(volatile uint64_t *)at[i] = round;
	for (int i = 0; i < 2; i++) {
		inside_wait(&in[i]);
		if (in[i].op.result != there[i])
			fprintf(stderr, "page %d was %#lx\n", i, in[i].op.result);
		CHECK(in[i].op.result == there[i]);
		CHECK(vdso_ask(host_tcs(&e, 2), DO_LOAD, at[i], 0, 0) == there[i]);
	}
	return 0;
}
