/* A division by zero reaches the program's handler, which leaves by siglongjmp. */
#include "check.h"
#include <setjmp.h>

static sigjmp_buf back;
static volatile int code;

static void handler(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGFPE && GREG(context, TRAPNO) == 0);
	CHECK(info->si_addr == (void *)GREG(context, RIP));
	code = info->si_code;
	siglongjmp(back, 1);
}

int main(void)
{
	catch_signal(SIGFPE, handler, 0);
	for (int i = 0; i < 50; i++) {
		code = 0;
		if (sigsetjmp(back, 1) == 0) {
			__asm__ volatile("xorl %%edx, %%edx\nxorl %%ecx, %%ecx\n"
					 "movl $1, %%eax\nidivl %%ecx\n"
					 : : : "eax", "ecx", "edx");
			CHECK(!"the division did not fault");
		}
		CHECK(code == FPE_INTDIV);
	}
	return 0;
}
