/* Vector registers and flags survive a fault that a handler with its own use repairs. */
#include "check.h"
#include <sys/time.h>

static volatile int seen;

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)info;
	__asm__ volatile("pcmpeqd %%xmm0, %%xmm0\npcmpeqd %%xmm7, %%xmm7\n"
			 "pcmpeqd %%xmm15, %%xmm15\nfninit\nfldz\n"
			 : : : "xmm0", "xmm7", "xmm15");
	if (signo == SIGILL)
		GREG(context, RIP) += 2;
	seen++;
}

int main(void)
{
	struct itimerval often = { { 0, 300 }, { 0, 300 } }, never = { 0 };
	unsigned long in[3] = { 0x1111111111111111, 0x77, ~0ul / 3 }, out[3];
	unsigned char carry;

	catch_signal(SIGILL, handler, 0);
	catch_signal(SIGALRM, handler, SA_RESTART);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	for (int i = 0; i < 20000; i++) {
		__asm__ volatile("movq 0(%2), %%xmm0\nmovq 8(%2), %%xmm7\n"
				 "movq 16(%2), %%xmm15\nstc\nud2\nsetc %0\n"
				 "movq %%xmm0, 0(%3)\nmovq %%xmm7, 8(%3)\n"
				 "movq %%xmm15, 16(%3)\n"
				 : "=q"(carry), "+m"(seen)
				 : "r"(in), "r"(out)
				 : "xmm0", "xmm7", "xmm15", "memory", "cc");
		CHECK(carry == 1 && memcmp(in, out, sizeof(in)) == 0);
	}
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(seen >= 20000);
	return 0;
}
