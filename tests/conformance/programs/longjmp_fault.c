/* A thousand faults, each left by siglongjmp; the signal mask is as before. */
#include "check.h"
#include <setjmp.h>

static sigjmp_buf back;

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)info, (void)context;
	siglongjmp(back, signo);
}

int main(void)
{
	volatile int segv = 0, ill = 0;
	sigset_t now;

	catch_signal(SIGSEGV, handler, 0);
	catch_signal(SIGILL, handler, 0);
	for (volatile int i = 0; i < 1000; i++) {
		int from = sigsetjmp(back, 1);

		if (from == SIGSEGV)
			segv++;
		else if (from == SIGILL)
			ill++;
		else if (i % 2)
			*(volatile char *)16 = 1;
		else
			__asm__ volatile("ud2");
		if (from == 0)
			CHECK(!"no fault");
	}
	CHECK(segv == 500 && ill == 500);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0);
	CHECK(!sigismember(&now, SIGSEGV) && !sigismember(&now, SIGILL));
	return 0;
}
