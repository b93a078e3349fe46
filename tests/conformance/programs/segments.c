/* FS belongs to the C library, GS to the program; a handler sees both as they were. */
#include "check.h"
#include <asm/prctl.h>

static unsigned long word = 0xfeedface;
static volatile unsigned long in_handler;

static unsigned long from_gs(void)
{
	unsigned long value;

	__asm__ volatile("movq %%gs:0, %0" : "=r"(value));
	return value;
}

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	in_handler = from_gs();
	errno = 5;
	GREG(context, RIP) += 2;
}

int main(void)
{
	unsigned long fs = 0, self, gs = 0;

	CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs) == 0);
	__asm__ volatile("movq %%fs:0, %0" : "=r"(self));
	CHECK(fs == self);
	CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, &word) == 0);
	CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs) == 0 && gs == (unsigned long)&word);
	CHECK(from_gs() == 0xfeedface);
	catch_signal(SIGILL, handler, 0);
	errno = 0;
	__asm__ volatile("ud2" : : : "memory");
	CHECK(errno == 5 && in_handler == 0xfeedface && from_gs() == 0xfeedface);
	CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, &self) == 0 && fs == self);
	return 0;
}
