/* The agent's call with any number and any arguments; argv: seed, rounds. */
#include "hostile.h"

static struct enclave e;
static uint8_t memory[4 * PAGE] __attribute__((aligned(PAGE)));

static uint64_t argument(void)
{
	const uint64_t pool[] = {
		0, 1, 2, 3, 4, 7, 8, (uint64_t)e.fd, (uint64_t)e.fd, (uint64_t)-1,
		0x7fffffff, 0x80000000, 0xffffffff, (uint64_t)1 << 47, (uint64_t)1 << 63,
		(uint64_t)-PAGE, (uint64_t)memory, (uint64_t)memory, (uint64_t)memory + 1,
		(uint64_t)memory + sizeof(memory) - 8, (uint64_t)find_gadget, AGENT_BASE,
		AGENT_BASE + DATA_OFFSET, e.base, e.base, e.base + PAGE, e.base + e.size,
		e.size, PAGE, 16 * PAGE, SGX_IOC_ENCLAVE_CREATE, SGX_IOC_ENCLAVE_ADD_PAGES,
		SGX_IOC_ENCLAVE_INIT, SGX_IOC_ENCLAVE_PROVISION,
		SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, SGX_IOC_ENCLAVE_MODIFY_TYPES,
		SGX_IOC_ENCLAVE_REMOVE_PAGES, (uint64_t)MAP_SHARED << 32 | PROT_READ,
		(uint64_t)(MAP_SHARED | MAP_FIXED) << 32 | PROT_READ | PROT_WRITE,
	};
	uint64_t value = pool[any() % (sizeof(pool) / sizeof(pool[0]))];

	return any() % 8 ? value : value ^ any() >> any() % 64;
}

/* A context, plausible here and there. */
static void scribble(void)
{
	struct abi_context *ctx = (struct abi_context *)memory;
	uint64_t *words = (uint64_t *)memory;

	for (size_t i = 0; i < 128; i++)
		words[i] = argument();
	ctx->rax = any() % 12;
	ctx->inside = any() % 3;
	if (any() % 2)
		ctx->tcs = e.base + any() % 24 * PAGE;
	if (any() % 2)
		ctx->xsavesize = any() % 3 * 1024;
	if (any() % 2)
		ctx->xsave = (uint64_t)memory + PAGE;
	if (any() % 2)
		ctx->xcr0 = 3;
}

static void scream(void)
{
	agent_call(any() % 20, argument(), argument(), argument(), argument(),
		   argument());
}

/* With the same file, the calls that judge a context. */
static void forge(void)
{
	static const uint64_t calls[] = { CALL_ENCLU, CALL_FAULT, CALL_AEX };

	scribble();
	agent_call(calls[any() % 3], any() % 8 ? (uint64_t)memory : argument(), 0, 0, 0,
		   0);
}

static void round_of(uint64_t number)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		seed = number * 0x9e3779b97f4a7c15 + 1;
		alarm(60);
		for (int i = 0; i < 200; i++)
			if (any() % 2)
				scream();
			else
				forge();
		_exit(0);
	}
	CHECK(waitpid(pid, NULL, 0) == pid);
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 0) : 10;

	e = host_load("3");
	for (uint64_t i = 0; i < rounds; i++)
		round_of(first + i);
	/* What the children said about us was not believed. */
	vdso_do(host_tcs(&e, 0), &(struct op){ .what = DO_NOTHING });
	printf("survived\n");
	return 0;
}
