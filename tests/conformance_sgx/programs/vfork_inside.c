/* A child of vfork enters the enclave too, while a thread of its parent is inside and
 * keeps its state. */
#include "host.h"

#define CHILDREN 20

static struct enclave e;

static void child(int n)
{
	struct op op = { .what = DO_NOTHING };
	pid_t pid = vfork();
	int status;

	if (pid == 0) {
		vdso_do(host_tcs(&e, 2 + (unsigned int)n % 3), &op);
		_exit(7);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	vdso_do(host_tcs(&e, 0), &op);
}

int main(void)
{
	static struct inside spin = { .op = { .what = DO_SPIN, .value = 3 } };

	e = host_load("3");
	spin.tcs = host_tcs(&e, 1);
	inside_start(&spin);
	for (int n = 0; n < CHILDREN; n++)
		child(n);
	spin.op.stop = 1;
	inside_wait(&spin);
	CHECK(spin.op.result == 1);
	return 0;
}
