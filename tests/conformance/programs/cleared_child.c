/* clone3 with CLONE_CLEAR_SIGHAND, as posix_spawn of newer libraries makes it: the child has
 * no handlers, ignores what was ignored, and does what any process does.
 *
 * link: all
 */
#include "check.h"

#include <fcntl.h>
#include <linux/sched.h>

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ull
#endif

static const int caught[] = { SIGUSR1, SIGILL, SIGTRAP, SIGSYS, SIGSEGV, SIGBUS, SIGFPE };
static char stack[65536] __attribute__((aligned(16)));
static volatile int shots;

static void on_signal_of_parent(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	shots++;
}

static struct clone_args asked(uint64_t flags)
{
	return (struct clone_args){ .flags = flags, .exit_signal = SIGCHLD };
}

static void check_handlers(int are_cleared)
{
	struct sigaction action;

	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++) {
		CHECK(sigaction(caught[i], NULL, &action) == 0);
		CHECK(are_cleared ? action.sa_handler == SIG_DFL :
				    action.sa_sigaction == on_signal_of_parent);
	}
	CHECK(sigaction(SIGUSR2, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
}

static void check_work(void)
{
	sigset_t mask;
	int fd = open("/dev/null", O_RDWR);

	CHECK(fd >= 0 && close(fd) == 0 && access("/dev/null", R_OK) == 0);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &mask) == 0);
	CHECK(sigismember(&mask, SIGHUP) == 1 && sigismember(&mask, SIGTERM) == 0);
}

/* With memory of its own: what then happens is in the status. */
static int copied(void (*body)(void))
{
	struct clone_args args = asked(CLONE_CLEAR_SIGHAND);
	pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	int status = -1;

	CHECK(child >= 0);
	if (child == 0) {
		check_handlers(1);
		check_work();
		body();
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child);
	return status;
}

static void nothing(void)
{
}

static void undefined(void)
{
	__asm__ volatile("ud2");
}

static void handles_again(void)
{
	catch_signal(SIGSEGV, on_signal_of_parent, 0);
	CHECK(raise(SIGSEGV) == 0 && shots == 1);
}

/* With its parent's memory and a stack of its own, until it executes something. */
static int execute(void)
{
	char *const words[] = { "true", NULL };

	check_work();
	execv("/bin/true", words);
	return 1;
}

static int shared(void)
{
	struct clone_args args = asked(CLONE_CLEAR_SIGHAND | CLONE_VM | CLONE_VFORK);
	register int (*body)(void) __asm__("r9") = execute;
	register uint64_t kept __asm__("r10") = 0x1234567890abcdef;
	long child = SYS_clone3;
	int status = -1;

	args.stack = (uint64_t)stack;
	args.stack_size = sizeof(stack);
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "call *%%r9\n\t"
			 "mov %%eax, %%edi\n\t"
			 "mov $60, %%eax\n\t"
			 "syscall\n"
			 "1:"
			 : "+a"(child), "+r"(body), "+r"(kept)
			 : "D"(&args), "S"(sizeof(args))
			 : "rcx", "r11", "memory");
	CHECK(child > 0 && body == execute && kept == 0x1234567890abcdef);
	CHECK(waitpid((pid_t)child, &status, 0) == child);
	return status;
}

int main(void)
{
	sigset_t hangup;

	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		catch_signal(caught[i], on_signal_of_parent, 0);
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&hangup);
	sigaddset(&hangup, SIGHUP);
	CHECK(sigprocmask(SIG_BLOCK, &hangup, NULL) == 0);
	CHECK(copied(nothing) == 0);
	CHECK(copied(handles_again) == 0);
	CHECK((copied(undefined) & 0x7f) == SIGILL);
	for (int i = 0; i < 3; i++)
		CHECK(shared() == 0);
	check_handlers(0);
	CHECK(shots == 0 && raise(SIGSEGV) == 0 && shots == 1);
	return 0;
}
