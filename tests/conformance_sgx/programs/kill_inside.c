/* pthread_kill to a thread that is inside: its handler runs on it, many times. */
#include "host.h"

static __thread int mine;
static volatile int count;

static void on_user(int signo, siginfo_t *info, void *context)
{
	(void)context;
	CHECK(signo == SIGUSR1 && info->si_code == SI_TKILL && info->si_pid == getpid());
	mine++;
	count++;
}

int main(void)
{
	struct enclave e = host_load("3");
	struct inside in = { .tcs = host_tcs(&e, 0), .op = { .what = DO_SPIN } };

	catch_signal(SIGUSR1, on_user, 0);
	inside_start(&in);
	for (int i = 1; i <= 50; i++) {
		CHECK(pthread_kill(in.thread, SIGUSR1) == 0);
		while (count < i)
			usleep(50);
	}
	CHECK(in.op.result == 0 && mine == 0);
	inside_wait(&in);
	CHECK(in.op.result == 1);
	return 0;
}
