/* sigaltstack belongs to the program: its handlers run there, and only there. */
#include "check.h"

static char *stack;
#define STACK_SIZE 65536
static volatile int on_it, said_on_it;

static void handler(int signo, siginfo_t *info, void *context)
{
	char here;
	stack_t now;

	(void)signo, (void)info;
	on_it = &here >= stack && &here < stack + STACK_SIZE;
	CHECK(sigaltstack(NULL, &now) == 0);
	said_on_it = now.ss_flags & SS_ONSTACK;
	CHECK(((ucontext_t *)context)->uc_stack.ss_sp == stack);
	if (on_it) {
		stack_t other = { .ss_flags = SS_DISABLE };

		CHECK_FAILS(sigaltstack(&other, NULL), EPERM);
	}
	if (signo == SIGILL)
		GREG(context, RIP) += 2;
}

int main(void)
{
	stack_t first, old;
	stack_t mine = { .ss_size = STACK_SIZE };

	CHECK(sigaltstack(NULL, &first) == 0);
	CHECK(first.ss_flags == SS_DISABLE);
	stack = malloc(STACK_SIZE);
	mine.ss_sp = stack;
	CHECK(sigaltstack(&mine, NULL) == 0);
	CHECK(sigaltstack(NULL, &old) == 0);
	CHECK(old.ss_sp == stack && old.ss_size == STACK_SIZE && old.ss_flags == 0);

	catch_signal(SIGILL, handler, SA_ONSTACK);
	__asm__ volatile("ud2");
	CHECK(on_it && said_on_it);
	catch_signal(SIGILL, handler, 0);
	__asm__ volatile("ud2");
	CHECK(!on_it && !said_on_it);
	catch_signal(SIGUSR1, handler, SA_ONSTACK);
	CHECK(raise(SIGUSR1) == 0);
	CHECK(on_it && said_on_it);
	mine.ss_size = 16;
	CHECK_FAILS(sigaltstack(&mine, NULL), ENOMEM);
	mine.ss_flags = SS_DISABLE;
	CHECK(sigaltstack(&mine, NULL) == 0);
	CHECK(sigaltstack(NULL, &old) == 0 && old.ss_flags == SS_DISABLE);
	return 0;
}
