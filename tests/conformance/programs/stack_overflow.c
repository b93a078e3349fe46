/* A stack overflow is caught on the alternate stack, more than once. */
#include "check.h"
#include <setjmp.h>

static sigjmp_buf back;
static volatile int depth;

static void handler(int signo, siginfo_t *info, void *context)
{
	long distance = (char *)info->si_addr - (char *)GREG(context, RSP);

	CHECK(signo == SIGSEGV);
	CHECK(distance > -65536 && distance < 65536);
	siglongjmp(back, 1);
}

static int __attribute__((noinline)) forever(int n)
{
	volatile char room[4096];

	room[0] = (char)n;
	depth = n;
	if (n < 0)
		return 0;
	return forever(n + 1) + room[0];
}

int main(void)
{
	stack_t stack = { .ss_size = 65536 };

	stack.ss_sp = malloc(stack.ss_size);
	CHECK(sigaltstack(&stack, NULL) == 0);
	catch_signal(SIGSEGV, handler, SA_ONSTACK);
	for (volatile int i = 0; i < 3; i++) {
		if (sigsetjmp(back, 1) == 0)
			forever(0);
		CHECK(depth > 100);
	}
	return 0;
}
