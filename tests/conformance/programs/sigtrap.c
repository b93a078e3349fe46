/* int3 and single steps in the program's own code are the program's own SIGTRAPs. */
#include "check.h"

static volatile int breakpoints, steps;

static void handler(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGTRAP);
	if (GREG(context, TRAPNO) == 3) {
		CHECK(info->si_code == SI_KERNEL);
		CHECK(*((unsigned char *)GREG(context, RIP) - 1) == 0xcc);
		breakpoints++;
	} else {
		CHECK(GREG(context, TRAPNO) == 1 && info->si_code == TRAP_TRACE);
		if (++steps == 5)
			GREG(context, EFL) &= ~0x100l;
	}
}

int main(void)
{
	catch_signal(SIGTRAP, handler, 0);
	for (int i = 1; i <= 50; i++) {
		__asm__ volatile("int3");
		CHECK(breakpoints == i);
	}
	__asm__ volatile("pushfq\norl $0x100, (%%rsp)\npopfq\n"
			 "nop\nnop\nnop\nnop\nnop\nnop\nnop\nnop\n"
			 : : : "memory", "cc");
	CHECK(steps == 5 && breakpoints == 50);
	return 0;
}
