/* SIGSTOP and SIGCONT while threads are inside. */
#include "host.h"

static void child(void)
{
	struct enclave e = host_load("3");
	struct inside in = { .tcs = host_tcs(&e, 0), .op = { .what = DO_SPIN } };

	inside_start(&in);
	for (int i = 0; i < 3; i++)
		raise(SIGSTOP);
	inside_wait(&in);
	CHECK(in.op.result == 1);
	_exit(9);
}

int main(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		child();
	for (int i = 0; i < 3; i++) {
		CHECK(waitpid(pid, &status, WUNTRACED) == pid);
		CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
		CHECK(kill(pid, SIGCONT) == 0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9);
	return 0;
}
