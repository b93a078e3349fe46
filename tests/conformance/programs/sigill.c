/* A program's own SIGILL handler sees its own illegal instruction, and may step over it. */
#include "check.h"

static volatile int seen;

static void handler(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGILL && info->si_signo == SIGILL);
	CHECK(info->si_code == ILL_ILLOPN);
	CHECK(info->si_addr == (void *)GREG(context, RIP));
	CHECK(memcmp(info->si_addr, "\x0f\x0b", 2) == 0);
	CHECK(GREG(context, TRAPNO) == 6);
	CHECK(GREG(context, RBX) == 0x1234);
	GREG(context, RIP) += 2;
	GREG(context, RAX) = 77;
	seen++;
}

int main(void)
{
	long answer = 0;

	catch_signal(SIGILL, handler, 0);
	for (int i = 1; i <= 100; i++) {
		__asm__ volatile("movq $0x1234, %%rbx\n"
				 "ud2\n"
				 : "=a"(answer) : : "rbx", "memory");
		CHECK(seen == i && answer == 77);
	}
	return 0;
}
