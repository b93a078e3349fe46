/* The first process of a pid namespace sends signals to all others: they and nobody else
 * get them, also while they use an enclave that they share with it.  Where the namespace
 * cannot be had there is nothing to see.
 */
#include "host.h"

#include <sched.h>

static struct enclave e;

static void other(int ready)
{
	vdso_ask(host_tcs(&e, 1), DO_NOTHING, 0, 0, 0);
	CHECK(write(ready, "x", 1) == 1);
	for (;;)
		vdso_ask(host_tcs(&e, 1), DO_NOTHING, 0, 0, 0);
}

static void first(void)
{
	int ready[2], status;
	pid_t child;
	char byte;

	e = host_load("3");
	vdso_ask(host_tcs(&e, 0), DO_NOTHING, 0, 0, 0);
	CHECK(getpid() == 1 && pipe(ready) == 0);
	CHECK_FAILS(kill(-1, 0), ESRCH);
	child = fork();
	CHECK(child >= 0);
	if (child == 0)
		other(ready[1]);
	CHECK(read(ready[0], &byte, 1) == 1);
	CHECK(kill(-1, 0) == 0 && kill(-1, SIGTERM) == 0);
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	vdso_ask(host_tcs(&e, 0), DO_NOTHING, 0, 0, 0);
	_exit(5);
}

int main(void)
{
	int status;

	if (unshare(CLONE_NEWUSER | CLONE_NEWPID))
		return 0;
	status = status_of(first);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
	return 0;
}
