/* A program that steps through itself with TF stops behind every instruction, whatever
 * the instruction is: CPUID, and system calls that are looked at or passed on. */
#include "check.h"

#include <poll.h>

#define MAX 64

extern char step_begin[], step_end[];
static long at[MAX];
static volatile int steps;

static void on_step(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGTRAP && info->si_code == TRAP_TRACE);
	CHECK(GREG(context, TRAPNO) == 1 && GREG(context, ERR) == 0);
	CHECK(info->si_addr == (void *)GREG(context, RIP));
	CHECK(GREG(context, EFL) & 0x100);
	CHECK(steps < MAX);
	at[steps++] = GREG(context, RIP) - (long)step_begin;
	if (GREG(context, RIP) == (greg_t)step_end)
		GREG(context, EFL) &= ~0x100l;
}

int main(void)
{
	static struct timespec none;
	static sigset_t set;

	catch_signal(SIGTRAP, on_step, 0);
	__asm__ volatile("pushfq\n orl $0x100, (%%rsp)\n popfq\n"
			 "step_begin: nop\n"
			 "xor %%eax, %%eax\n cpuid\n nop\n nop\n"
			 "mov $14, %%eax\n xor %%edi, %%edi\n xor %%esi, %%esi\n" /* sigprocmask */
			 "mov %0, %%rdx\n mov $8, %%r10d\n syscall\n nop\n nop\n"
			 "mov $271, %%eax\n xor %%edi, %%edi\n xor %%esi, %%esi\n" /* ppoll */
			 "mov %1, %%rdx\n mov %0, %%r10\n mov $8, %%r8d\n syscall\n"
			 "nop\n nop\n nop\n"
			 "step_end: nop"
			 : : "r"(&set), "r"(&none)
			 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r10", "r11",
			   "memory", "cc");
	CHECK(at[steps - 1] == step_end - step_begin);
	for (int i = 0; i < steps; i++)
		printf("%ld ", at[i]);
	puts("");
	return 0;
}
