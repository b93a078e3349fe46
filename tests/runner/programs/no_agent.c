/* The agent, its data or the vDSO image unmapped, overwritten or made read-only. */
#include "hostile.h"

static struct enclave e;

static void goes_on(void)
{
	struct op op = { .what = DO_NOTHING };
	struct sgx_enclave_run run;

	alarm(30);
	vdso_call(host_tcs(&e, 0), EENTER, &op, &run);
	close(open("/dev/sgx_enclave", O_RDWR));
	host_load("3");
	execl("/bin/true", "true", NULL);
}

static void without(uint64_t offset, uint64_t size)
{
	munmap((void *)(AGENT_BASE + offset), size);
	goes_on();
}

static void over(uint64_t offset, uint64_t size)
{
	mprotect((void *)(AGENT_BASE + offset), size, PROT_READ | PROT_WRITE | PROT_EXEC);
	for (uint64_t at = 0; at < size; at += 8)
		*(uint64_t *)(AGENT_BASE + offset + at) = any();
	goes_on();
}

static void locked(uint64_t offset, uint64_t size)
{
	mprotect((void *)(AGENT_BASE + offset), size, PROT_READ);
	goes_on();
}

static void try_part(void (*what)(uint64_t, uint64_t), uint64_t offset, uint64_t size)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		what(offset, size);
		_exit(0);
	}
	CHECK(waitpid(pid, NULL, 0) == pid);
}

int main(void)
{
	static void (*const tricks[])(uint64_t, uint64_t) = { without, over, locked };

	e = host_load("3");
	for (size_t i = 0; i < sizeof(tricks) / sizeof(tricks[0]); i++) {
		try_part(tricks[i], 0, VDSO_OFFSET);
		try_part(tricks[i], VDSO_OFFSET, PAGE);
		try_part(tricks[i], DATA_OFFSET, FORK_OFFSET - DATA_OFFSET);
		try_part(tricks[i], FORK_OFFSET, PAGE);
		try_part(tricks[i], BLOCKS_OFFSET, BLOCK_SIZE);
	}
	printf("survived\n");
	return 0;
}
