/* Handlers survive fork; children of children report to their own parents. */
#include "check.h"

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	GREG(context, RIP) += 2;
	GREG(context, RAX) = getpid();
}

static int grow(int depth)
{
	int total = 1;
	int pid;

	__asm__ volatile("ud2" : "=a"(pid));
	CHECK(pid == getpid());
	if (depth == 0)
		return 1;
	for (int i = 0; i < 3; i++) {
		int status;
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0)
			_exit(grow(depth - 1));
		CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
		total += WEXITSTATUS(status);
	}
	return total;
}

int main(void)
{
	catch_signal(SIGILL, handler, 0);
	CHECK(grow(3) == 40);
	CHECK_FAILS(wait(NULL), ECHILD);
	return 0;
}
