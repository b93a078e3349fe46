/* sigaction by libc: while signals come, with all signals blocked, in a child of vfork,
 * with masks that hold what stands for traps, and as posix_spawn makes it. */
/* link: glibc */
#include "check.h"
#include <spawn.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

extern char **environ;
static volatile unsigned ticks, seen;

static void nothing(int signo)
{
	(void)signo;
}

static void tick(int signo)
{
	struct sigaction old;

	(void)signo;
	CHECK(sigaction(SIGUSR2, NULL, &old) == 0);
	CHECK(old.sa_handler == nothing || old.sa_handler == SIG_IGN);
	ticks++;
}

static void among_signals(void)
{
	struct itimerval every = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
	struct sigaction set = {.sa_handler = nothing}, old;

	CHECK(sigaction(SIGUSR2, &set, NULL) == 0);
	CHECK(signal(SIGALRM, tick) != SIG_ERR);
	CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
	for (unsigned i = 0; ticks < 200; i++) {
		set.sa_handler = i % 2 ? nothing : SIG_IGN;
		CHECK(sigaction(SIGUSR2, &set, &old) == 0);
		CHECK(old.sa_handler == (i % 2 ? SIG_IGN : nothing));
	}
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(signal(SIGUSR2, SIG_DFL) != SIG_ERR && signal(SIGALRM, SIG_DFL) == tick);
}

static void look(int signo)
{
	struct stat about;
	sigset_t mask;

	CHECK(sigprocmask(SIG_SETMASK, NULL, &mask) == 0);
	CHECK(sigismember(&mask, SIGSEGV) && sigismember(&mask, signo));
	CHECK(stat("/dev/null", &about) == 0);
	seen++;
}

/* What a handler asks to be blocked comes back, and goes when it is set anew. */
static void masks(void)
{
	struct sigaction set = {.sa_handler = look}, old;

	sigfillset(&set.sa_mask);
	CHECK(sigaction(SIGUSR1, &set, NULL) == 0);
	CHECK(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == look);
	CHECK(sigismember(&old.sa_mask, SIGSYS) && sigismember(&old.sa_mask, SIGUSR2));
	CHECK(raise(SIGUSR1) == 0 && seen == 1);
	sigemptyset(&set.sa_mask);
	set.sa_handler = SIG_DFL;
	CHECK(sigaction(SIGUSR1, &set, &old) == 0 && old.sa_handler == look);
	CHECK(sigismember(&old.sa_mask, SIGTRAP));
	CHECK(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
	CHECK(!sigismember(&old.sa_mask, SIGTRAP) && !sigismember(&old.sa_mask, SIGHUP));
}

static void set_from(int first, void (*handler)(int))
{
	struct sigaction set = {.sa_handler = handler}, old;

	for (int signo = first; signo <= SIGRTMAX; signo++) {
		if (signo == SIGKILL || signo == SIGSTOP || signo == SIGCHLD ||
		    signo == SIGSYS ||
		    signo == 32 || signo == 33)
			continue;
		CHECK(sigaction(signo, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
		CHECK(sigaction(signo, &set, &old) == 0 && old.sa_handler == SIG_DFL);
		CHECK(sigaction(signo, NULL, &old) == 0 && old.sa_handler == handler);
		set.sa_handler = SIG_DFL;
		CHECK(sigaction(signo, &set, NULL) == 0);
		set.sa_handler = handler;
	}
	CHECK_FAILS(sigaction(SIGKILL, &set, NULL), EINVAL);
	CHECK_FAILS(sigaction(65, NULL, &old), EINVAL);
}

/* Nothing that a look at the program's memory could raise may come. */
static void blocked(void)
{
	sigset_t all, was;
	int status;
	pid_t child;

	sigfillset(&all);
	CHECK(sigprocmask(SIG_SETMASK, &all, &was) == 0);
	set_from(SIGHUP, nothing);
	child = vfork();
	if (child == 0) {
		set_from(SIGUSR2, SIG_IGN);
		_exit(7);
	}
	CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
	set_from(SIGHUP, SIG_IGN);
	CHECK(sigprocmask(SIG_SETMASK, &was, NULL) == 0);
}

/* Signals that are ignored here have their default action there. */
static void spawned(void)
{
	char *words[] = {"sh", "-c", "kill -HUP $$; exit 3", NULL};
	posix_spawnattr_t attributes;
	sigset_t all;
	int status;
	pid_t child;

	sigfillset(&all);
	CHECK(signal(SIGHUP, SIG_IGN) == SIG_DFL);
	CHECK(posix_spawnattr_init(&attributes) == 0);
	CHECK(posix_spawnp(&child, "sh", NULL, &attributes, words, environ) == 0);
	CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3);
	CHECK(posix_spawnattr_setsigdefault(&attributes, &all) == 0);
	CHECK(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF) == 0);
	CHECK(posix_spawnp(&child, "sh", NULL, &attributes, words, environ) == 0);
	CHECK(waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGHUP);
	CHECK(signal(SIGHUP, SIG_DFL) == SIG_IGN);
}

int main(void)
{
	spawned();
	masks();
	among_signals();
	blocked();
	return 0;
}
