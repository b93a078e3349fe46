/* A program with handlers of its own for the signals that SGX work uses: they get what
 * others send, inside and outside, and never a trap that is softsgx's. */
#include "host.h"

static volatile int got[65];

static void on_sent(int signo, siginfo_t *info, void *context)
{
	(void)context;
	CHECK(info->si_code == SI_TKILL && info->si_pid == getpid());
	got[signo]++;
}

/* Under softsgx one that is sent while the thread traps may be lost: send it again. */
static void send(pthread_t thread, int signo, int until)
{
	while (got[signo] < until) {
		CHECK(pthread_kill(thread, signo) == 0);
		for (int i = 0; i < 400 && got[signo] < until; i++)
			usleep(50);
	}
}

int main(void)
{
	static const int signals[] = { SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGSYS };
	struct enclave e = host_load("3");
	struct inside in = { .tcs = host_tcs(&e, 0), .op = { .what = DO_SPIN } };

	for (int i = 0; i < 6; i++)
		catch_signal(signals[i], on_sent, 0);
	vdso_ask(in.tcs, DO_NOTHING, 0, 0, 0);
	inside_start(&in);
	for (int round = 1; round <= 10; round++) {
		for (int i = 0; i < 6; i++) {
			send(in.thread, signals[i], round);
		}
	}
	inside_wait(&in);
	CHECK(in.op.result == 1);
	for (int i = 0; i < 6; i++)
		CHECK(got[signals[i]] >= 10);
	return 0;
}
