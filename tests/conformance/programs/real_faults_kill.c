/* A real fault kills where its signal is default, ignored or blocked. */
#include "check.h"
#include <sys/resource.h>

static void no_core(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
}

static void block(int signo)
{
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, signo);
	sigprocmask(SIG_BLOCK, &one, NULL);
}

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	_exit(3);
}

static void illegal(void)
{
	__asm__ volatile("ud2");
}

static void wild(void)
{
	*(volatile char *)8 = 1;
}

static void breakpoint(void)
{
	__asm__ volatile("int3");
}

static void illegal_ignored(void)
{
	signal(SIGILL, SIG_IGN);
	illegal();
}

static void wild_ignored(void)
{
	signal(SIGSEGV, SIG_IGN);
	wild();
}

static void illegal_blocked(void)
{
	catch_signal(SIGILL, handler, 0);
	block(SIGILL);
	illegal();
}

static void wild_blocked(void)
{
	catch_signal(SIGSEGV, handler, 0);
	block(SIGSEGV);
	wild();
}

static void wild_in_handler(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	wild();
}

static void wild_twice(void)
{
	catch_signal(SIGSEGV, wild_in_handler, 0);
	wild();
}

static int killer(void (*body)(void))
{
	int status = status_of(body);

	CHECK(WIFSIGNALED(status));
	return WTERMSIG(status);
}

int main(void)
{
	no_core();
	CHECK(killer(illegal) == SIGILL);
	CHECK(killer(wild) == SIGSEGV);
	CHECK(killer(breakpoint) == SIGTRAP);
	CHECK(killer(illegal_ignored) == SIGILL);
	CHECK(killer(wild_ignored) == SIGSEGV);
	CHECK(killer(illegal_blocked) == SIGILL);
	CHECK(killer(wild_blocked) == SIGSEGV);
	CHECK(killer(wild_twice) == SIGSEGV);
	return 0;
}
