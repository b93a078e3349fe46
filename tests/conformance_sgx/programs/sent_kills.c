/* A fault signal that somebody sends to a thread inside does what its disposition
 * says: by default it ends the process; ignored, it does nothing. */
#include "host.h"

static int signo;

static void default_action(void)
{
	struct enclave e = host_load("3");
	struct inside in = { .tcs = host_tcs(&e, 0), .op = { .what = DO_COUNT } };

	inside_start(&in);
	for (;;) {
		pthread_kill(in.thread, signo);
		usleep(20000);
	}
}

static void ignored(void)
{
	struct enclave e = host_load("3");
	struct inside in = { .tcs = host_tcs(&e, 0), .op = { .what = DO_SPIN } };

	signal(signo, SIG_IGN);
	inside_start(&in);
	for (int i = 0; i < 10; i++)
		pthread_kill(in.thread, signo);
	inside_wait(&in);
	CHECK(in.op.result == 1);
	_exit(6);
}

int main(void)
{
	static const int signals[] = { SIGILL, SIGTRAP, SIGSEGV, SIGFPE, SIGSYS, SIGUSR1 };
	int status;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		signo = signals[i];
		status = status_of(default_action);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == signo);
		status = status_of(ignored);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 6);
	}
	return 0;
}
