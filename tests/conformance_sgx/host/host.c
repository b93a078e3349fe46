/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include <limits.h>

struct enclave host_load(const char *name)
{
	char elf[PATH_MAX + 64], sig[PATH_MAX + 64], self[PATH_MAX] = "";

	CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	*strrchr(self, '/') = '\0';
	snprintf(elf, sizeof(elf), "%s/../enclave/%s.elf", self, name);
	snprintf(sig, sizeof(sig), "%s/../enclave/%s.sig", self, name);
	return enclave_load(elf, sig);
}

int vdso_again(uint32_t function, struct op *op, struct sgx_enclave_run *run)
{
	return vdso_saved((void *)vdso_enter_enclave(), op, function, run);
}

int vdso_call(uint64_t tcs, uint32_t function, struct op *op,
	      struct sgx_enclave_run *run)
{
	memset(run, 0, sizeof(*run));
	run->tcs = tcs;
	return vdso_again(function, op, run);
}

void vdso_do(uint64_t tcs, struct op *op)
{
	struct sgx_enclave_run run;

	CHECK(vdso_call(tcs, EENTER, op, &run) == 0);
	if (run.function != EEXIT)
		fprintf(stderr, "op %d: function %u, exception %u, code %#x, at %#llx\n",
			(int)op->what, run.function, run.exception_vector,
			run.exception_error_code, (unsigned long long)run.exception_addr);
	CHECK(run.function == EEXIT);
	CHECK(run.exception_vector == 0 && run.exception_error_code == 0);
	CHECK(run.exception_addr == 0);
}

uint64_t vdso_ask(uint64_t tcs, uint64_t what, uint64_t address, uint64_t value,
		  uint64_t size)
{
	struct op op = { .what = what, .address = address, .value = value, .size = size };

	vdso_do(tcs, &op);
	return op.result;
}

void host_fill(const struct enclave *e, uint64_t tcs, uint64_t pages)
{
	void *first = (void *)host_spare(e, 0);

	CHECK(mmap(first, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		   e->fd, 0) == first);
	for (uint64_t n = 0; n < pages; n++) {
		struct op op = { .what = DO_ENCLU, .address = host_spare(e, n),
				 .value = EACCEPT,
				 .size = SECINFO_REG | SECINFO_R | SECINFO_W |
					 SECINFO_PENDING };

		vdso_do(tcs, &op);
		CHECK(op.result == 0);
		vdso_ask(tcs, DO_STORE, host_spare(e, n), n + 1, 0);
	}
}

static void *inside_thread(void *argument)
{
	struct inside *in = argument;

	vdso_do(in->tcs, &in->op);
	return NULL;
}

static uint64_t frame_address(uint64_t tcs, unsigned int n, uint64_t offset)
{
	return vdso_ask(tcs, DO_AREA, 0, 0, 0) + n * PAGE + offset;
}

uint64_t frame_load(uint64_t tcs, unsigned int n, uint64_t offset)
{
	return vdso_ask(tcs, DO_LOAD, frame_address(tcs, n, offset), 0, 0);
}

void frame_store(uint64_t tcs, unsigned int n, uint64_t offset, uint64_t value)
{
	vdso_ask(tcs, DO_STORE, frame_address(tcs, n, offset), value, 0);
}

void inside_start(struct inside *in)
{
	in->op.started = in->op.stop = 0;
	CHECK(pthread_create(&in->thread, NULL, inside_thread, in) == 0);
	while (!in->op.started)
		usleep(100);
}

void inside_wait(struct inside *in)
{
	in->op.stop = 1;
	CHECK(pthread_join(in->thread, NULL) == 0);
}

void check_synthetic(const ucontext_t *uc, uint64_t tcs, const uint8_t *aep)
{
	static const int zero[] = { REG_RDX, REG_RSI, REG_RDI, REG_R8,  REG_R9,	 REG_R10,
				    REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
	const greg_t *gregs = uc->uc_mcontext.gregs;

	CHECK(gregs[REG_RIP] == (greg_t)aep && gregs[REG_RCX] == (greg_t)aep);
	CHECK(gregs[REG_RAX] == ERESUME);
	CHECK(gregs[REG_RBX] == (greg_t)tcs);
	for (size_t i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
		CHECK(gregs[zero[i]] == 0);
	CHECK((gregs[REG_EFL] & 0x8d5) == 0);
}
