/* clone and clone3 without the C library: shared memory, own stack, vfork manner. */
#include "check.h"
#include <linux/sched.h>
#include <sched.h>

static volatile int shared;
static char stack[65536] __attribute__((aligned(16)));

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	shared++;
	GREG(context, RIP) += 2;
}

static int body(void *argument)
{
	shared += (int)(long)argument;
	__asm__ volatile("ud2");
	return 17;
}

static int ends_with(pid_t child)
{
	int status;

	CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
	return WEXITSTATUS(status);
}

int main(void)
{
	struct clone_args how = { .exit_signal = SIGCHLD };
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES;
	long child;

	catch_signal(SIGILL, handler, 0);
	CHECK(ends_with(clone(body, stack + 65536, flags | SIGCHLD, (void *)5)) == 17);
	CHECK(shared == 6);
	CHECK(ends_with(clone(body, stack + 65536, CLONE_VM | CLONE_VFORK | SIGCHLD,
			      (void *)10)) == 17);
	CHECK(shared == 17);
	child = syscall(SYS_clone3, &how, sizeof(how));
	if (child == 0) {
		__asm__ volatile("ud2");
		_exit(shared);
	}
	CHECK(ends_with((pid_t)child) == 18 && shared == 17);
	CHECK_FAILS(syscall(SYS_clone3, (void *)8, sizeof(how)), EFAULT);
	CHECK_FAILS(syscall(SYS_clone3, &how, 1), EINVAL);
	return 0;
}
