/* execve keeps the mask and the pending signals of its thread, those that SGX work needs
 * included, in a process with an enclave and in one without. */
#include "host.h"

static const int signals[] = { SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGSYS, SIGUSR1 };

static void check_kept(void)
{
	sigset_t blocked, pending;

	CHECK(sigprocmask(SIG_BLOCK, NULL, &blocked) == 0 && sigpending(&pending) == 0);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		CHECK(sigismember(&blocked, signals[i]) == 1);
		CHECK(sigismember(&pending, signals[i]) == 1);
	}
	CHECK(!sigismember(&blocked, SIGUSR2) && !sigismember(&pending, SIGUSR2));
}

static void block_and_execute(char *self, char *what)
{
	char *again[] = { self, what, NULL };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&set, signals[i]);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		raise(signals[i]);
	check_kept();
	execv("/proc/self/exe", again);
	_exit(1);
}

int main(int argc, char **argv)
{
	if (argc == 1)
		block_and_execute(argv[0], "with");
	check_kept();
	if (!strcmp(argv[1], "with")) {
		host_load("3");
		check_kept();
		block_and_execute(argv[0], "after");
	}
	return 0;
}
