/* A fault inside an enclave whose signal the host blocks, ignores or leaves alone ends the
 * process with that signal, as anywhere; through the vDSO it is no signal at all.
 *
 * link: all
 */
#include "host.h"

static const struct {
	uint64_t what;
	int signo;
} faults[] = {
	{ DO_DIVIDE, SIGFPE },	 { DO_UNDEFINED, SIGILL }, { DO_PROTECTED, SIGSEGV },
	{ DO_BREAK, SIGILL },	 { DO_STACK, SIGBUS },	   { DO_SSE, SIGFPE },
};
static unsigned int which;
static struct enclave e;

static void block(int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
}

static void fault(void)
{
	struct op op = { .what = faults[which].what };

	own_enter(&op, host_tcs(&e, 0));
	_exit(77);
}

static void left_alone(void)
{
	e = host_load("3");
	fault();
}

static void blocked(void)
{
	e = host_load("3");
	block(faults[which].signo);
	fault();
}

static void ignored(void)
{
	e = host_load("3");
	signal(faults[which].signo, SIG_IGN);
	fault();
}

/* The handler's own signal is blocked while it runs. */
static void again(int signo)
{
	struct op op = { .what = faults[which].what };

	(void)signo;
	own_enter(&op, host_tcs(&e, 0));
	_exit(78);
}

static void twice(void)
{
	e = host_load("3");
	signal(faults[which].signo, again);
	fault();
}

static void by_the_vdso(void)
{
	struct sgx_enclave_run run;
	struct op op = { .what = faults[which].what };

	e = host_load("3");
	for (int signo = 1; signo < 32; signo++)
		block(signo);
	CHECK(vdso_call(host_tcs(&e, 0), EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME);
}

int main(void)
{
	void (*const ways[])(void) = { left_alone, blocked, ignored, twice };

	for (which = 0; which < sizeof(faults) / sizeof(faults[0]); which++) {
		for (unsigned int i = which % 2; i < 4; i += 2) {
			int status = status_of(ways[i]);

			CHECK(WIFSIGNALED(status));
			CHECK(WTERMSIG(status) == faults[which].signo);
		}
		CHECK(status_of(by_the_vdso) == 0);
	}
	return 0;
}
