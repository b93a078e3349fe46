/* Every exit code and every deadly signal arrives at waitpid as it was. */
#include "check.h"
#include <sys/resource.h>

static int wanted;

static void leaves(void)
{
	_exit(wanted);
}

static void dies(void)
{
	signal(wanted, SIG_DFL);
	kill(getpid(), wanted);
	pause();
}

int main(void)
{
	static const int deadly[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE,
		SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM,
		SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO, SIGSYS,
	};
	struct rlimit none = { 0, 0 };

	CHECK(setrlimit(RLIMIT_CORE, &none) == 0);
	for (wanted = 0; wanted < 256; wanted += 5) {
		int status = status_of(leaves);

		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == wanted);
	}
	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
		int status;

		wanted = deadly[i];
		status = status_of(dies);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == wanted);
	}
	return 0;
}
