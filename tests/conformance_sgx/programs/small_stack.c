/* The thread that opened the device enters on a stack with room for the vDSO's frame and
 * no more, its own signals blocked or not: a visit, a fault, and what the fault left. */
#include "host.h"

#define ROOM 160

static struct enclave e;
static struct op op;
static char *top;

/* The vDSO's function with RSP at the small stack. */
static long enter(uint64_t function, struct sgx_enclave_run *run)
{
	struct op *request = &op;
	uint64_t rsi = 0, rdx = 0;
	char *at = top;
	register uint64_t r8 __asm__("r8") = 0;
	register uint64_t r9 __asm__("r9") = 0;
	register void *call __asm__("r11") = (void *)vdso_enter_enclave();
	long result;

	memset(run, 0, sizeof(*run));
	run->tcs = host_tcs(&e, 0);
	__asm__ volatile("mov %%rsp, %%r15\n\t"
			 "mov %%rbx, %%rsp\n\t"
			 "push %%rbp\n\t"
			 "push %%r15\n\t"
			 "sub $16, %%rsp\n\t"
			 "mov %[run], (%%rsp)\n\t"
			 "call *%%r11\n\t"
			 "add $16, %%rsp\n\t"
			 "pop %%r15\n\t"
			 "pop %%rbp\n\t"
			 "mov %%r15, %%rsp"
			 : "=a"(result), "+r"(call), "+r"(r8), "+r"(r9), "+D"(request),
			   "+S"(rsi), "+d"(rdx), "+c"(function), "+b"(at)
			 : [run] "r"(run)
			 : "r10", "r12", "r13", "r14", "r15", "memory");
	return result;
}

static void visits(void)
{
	struct op skip = { .what = DO_SKIP, .value = 2 };
	struct sgx_enclave_run run;

	for (int i = 0; i < 5; i++) {
		op.what = DO_AREA;
		op.result = 0;
		CHECK(enter(EENTER, &run) == 0 && run.function == EEXIT);
		CHECK(op.result - e.base < e.size);
		op.what = DO_UNDEFINED;
		CHECK(enter(EENTER, &run) == 0 && run.function == ERESUME);
		CHECK(run.exception_vector == 6);
		vdso_do(host_tcs(&e, 0), &skip);
		CHECK(enter(ERESUME, &run) == 0 && run.function == EEXIT);
	}
}

int main(void)
{
	char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigset_t all;

	CHECK(pages != MAP_FAILED && mprotect(pages, PAGE, PROT_NONE) == 0);
	top = pages + PAGE + ROOM;
	e = host_load("3");
	visits();
	sigfillset(&all);
	CHECK(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
	visits();
	return 0;
}
