/* Code that an enclave writes while it runs: CPUID in it is #UD like any other, as often
 * as it is written anew, also where code writes to its own page; data that looks like
 * CPUID stays data.
 */
#include "host.h"

#define UD 6
#define RW (SECINFO_R | SECINFO_W)
#define FRESH (SECINFO_REG | RW | SECINFO_PENDING)
#define EMODPE 6
#define RWX (PROT_READ | PROT_WRITE | PROT_EXEC)
#define DATA 0x800
#define LOOKS_LIKE_CODE 0x900

static struct enclave e;
static uint64_t tcs, page;

static void put(uint64_t at, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		vdso_ask(tcs, DO_WRITE, at + i, bytes[i], 0);
}

static void store32(uint8_t *to, uint64_t value)
{
	uint32_t low = (uint32_t)value;

	memcpy(to, &low, sizeof(low));
}

/* push %rbx; mov $leaf, %eax; mov $subleaf, %ecx; cpuid; mov %eax, (to); pop %rbx; ret */
static void assemble(uint32_t leaf, uint32_t subleaf, uint64_t to)
{
	uint8_t code[] = { 0x53, 0xb8, 0, 0, 0, 0, 0xb9, 0, 0, 0, 0,
			   0x0f, 0xa2, 0x89, 0x05, 0, 0, 0, 0, 0x5b, 0xc3 };

	store32(code + 2, leaf);
	store32(code + 7, subleaf);
	store32(code + 15, to - (page + 19));
	put(page, code, sizeof(code));
}

static void run(uint32_t leaf, uint64_t to)
{
	struct op op = { .what = DO_CALL, .address = page }, ask = { .what = DO_EMULATE };
	struct sgx_enclave_run run;

	CHECK(vdso_call(tcs, EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == UD);
	vdso_do(tcs, &ask);
	CHECK(ask.result == 1);
	CHECK(vdso_call(tcs, ERESUME, &op, &run) == 0 && run.function == EEXIT);
	CHECK(vdso_ask(tcs, DO_READ, to, 0, 0) == leaf + 1);
	CHECK(vdso_ask(tcs, DO_READ, page + LOOKS_LIKE_CODE, 0, 0) == 0x0f);
}

static void fresh_page(uint64_t at)
{
	uint64_t other = host_tcs(&e, 1);

	CHECK(mmap((void *)at, PAGE, RWX, MAP_SHARED | MAP_FIXED, e.fd, 0) == (void *)at);
	CHECK(vdso_ask(other, DO_ENCLU, at, EACCEPT, FRESH) == 0);
	CHECK(vdso_ask(other, DO_ENCLU, at, EMODPE, RW | SECINFO_X) == EMODPE);
}

int main(void)
{
	static const uint8_t data[] = { 0x0f, 0xa2, 0x89, 0x07 };

	e = host_load("3");
	tcs = host_tcs(&e, 0);
	page = e.base + SPARE;
	fresh_page(page);
	fresh_page(page + PAGE);
	put(page + LOOKS_LIKE_CODE, data, sizeof(data));
	for (uint32_t leaf = 1; leaf < 6; leaf++) {
		assemble(leaf, 0, page + PAGE);
		run(leaf, page + PAGE);
		run(leaf, page + PAGE);
	}
	/* Written where it may not run, run where it may not be written. */
	for (uint32_t leaf = 10; leaf < 30; leaf++) {
		CHECK(mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE) == 0);
		assemble(leaf, 1, page + PAGE);
		CHECK(mprotect((void *)page, PAGE, PROT_READ | PROT_EXEC) == 0);
		run(leaf, page + PAGE);
	}
	CHECK(mprotect((void *)page, PAGE, RWX) == 0);
	assemble(40, 0, page + PAGE);
	run(40, page + PAGE);
	assemble(50, 0, page + DATA);
	run(50, page + DATA);
	run(50, page + DATA);
	return 0;
}
