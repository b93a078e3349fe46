/* System calls without a library: all registers but RAX, RCX and R11 stay. */
#include "check.h"

static long raw(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}

static void registers_stay(void)
{
	unsigned long out[8], flags;
	register unsigned long *to __asm__("r15") = out;

	__asm__ volatile(
		"movq $1, %%rbx\nmovq $2, %%rdx\nmovq $3, %%rsi\nmovq $4, %%rdi\n"
		"movq $5, %%r8\nmovq $6, %%r9\nmovq $7, %%r10\nmovq $8, %%r12\n"
		"movq $-1, %%rcx\nmovl $39, %%eax\nsyscall\n1:\n"
		"movq %%rbx, 0(%%r15)\nmovq %%rdx, 8(%%r15)\nmovq %%rsi, 16(%%r15)\n"
		"movq %%rdi, 24(%%r15)\nmovq %%r8, 32(%%r15)\nmovq %%r9, 40(%%r15)\n"
		"movq %%r10, 48(%%r15)\nmovq %%r12, 56(%%r15)\n"
		"leaq 1b(%%rip), %%rdx\ncmpq %%rcx, %%rdx\nsetne %%al\nmovzbl %%al, %%eax\n"
		: "=a"(flags)
		: "r"(to)
		: "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
		  "memory", "cc");
	CHECK(flags == 0);
	for (unsigned long i = 0; i < 8; i++)
		CHECK(out[i] == i + 1);
}

int main(void)
{
	sigset_t mask;

	CHECK(raw(SYS_getpid, 0, 0, 0) == getpid());
	CHECK(raw(SYS_write, -1, 0, 0) == -EBADF);
	CHECK(raw(SYS_write, 1, 8, 1) == -EFAULT);
	CHECK(raw(999999, 0, 0, 0) == -ENOSYS);
	CHECK(raw(-1, 0, 0, 0) == -ENOSYS);
	CHECK(raw(SYS_openat, -100, (long)"/dev/null", 0) >= 0);
	memset(&mask, 0, sizeof(mask));
	CHECK(raw(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)&mask) == -EINVAL);
	for (int i = 0; i < 1000; i++)
		registers_stay();
	return 0;
}
