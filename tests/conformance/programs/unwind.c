/* An unwinder gets through a signal handler's frame to what was interrupted, with its
 * registers: for a sent signal and for a fault, on the stack and on a signal stack.
 *
 * link: glibc
 */
#include "check.h"

#include <unwind.h>

static volatile int found_interrupted, found_main;
static char stack[65536];

static __attribute__((noinline)) void interrupted(int fault)
{
	if (fault)
		*(volatile char *)NULL = 0;
	else
		raise(SIGUSR1);
	__asm__ volatile("" : : : "memory");
}

int main(int argc, char **argv);

static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *argument)
{
	uintptr_t function = _Unwind_GetRegionStart(context);

	(void)argument;
	found_interrupted += function == (uintptr_t)interrupted;
	found_main += function == (uintptr_t)main;
	return _URC_NO_REASON;
}

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)info;
	found_interrupted = found_main = 0;
	_Unwind_Backtrace(frame, NULL);
	CHECK(found_interrupted == 1 && found_main == 1);
	if (signo == SIGSEGV) /* "movb $0, 0" and its like: the next function's return */
		GREG(context, RIP) = *(greg_t *)GREG(context, RSP), GREG(context, RSP) += 8;
}

int main(int argc, char **argv)
{
	const stack_t alt = { .ss_sp = stack, .ss_size = sizeof(stack) };

	(void)argc, (void)argv;
	CHECK(sigaltstack(&alt, NULL) == 0);
	for (int flags = 0; flags <= SA_ONSTACK; flags += SA_ONSTACK) {
		catch_signal(SIGUSR1, handler, flags);
		catch_signal(SIGSEGV, handler, flags);
		interrupted(0);
		interrupted(1);
	}
	return 0;
}
