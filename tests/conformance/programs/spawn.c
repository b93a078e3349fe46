/* posix_spawn with file actions, a signal mask, defaults, and its error. */
#include "check.h"
#include <fcntl.h>
#include <spawn.h>

extern char **environ;

int main(int argc, char **argv)
{
	char *words[] = { "spawned", "child", NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t how;
	char text[32] = { 0 };
	int ends[2], status;
	sigset_t mask;
	pid_t child;

	if (argc > 1) {
		sigprocmask(SIG_BLOCK, NULL, &mask);
		printf("%s %d %d\n", argv[1], sigismember(&mask, SIGILL),
		       sigismember(&mask, SIGUSR1));
		return 11;
	}
	CHECK(pipe(ends) == 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
	posix_spawn_file_actions_addclose(&actions, ends[0]);
	posix_spawnattr_init(&how);
	sigemptyset(&mask);
	sigaddset(&mask, SIGILL);
	posix_spawnattr_setsigmask(&how, &mask);
	posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK);
	CHECK(posix_spawn(&child, "/proc/self/exe", &actions, &how, words, environ) == 0);
	CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 11);
	CHECK(read(ends[0], text, sizeof(text) - 1) > 0);
	CHECK(strcmp(text, "child 1 0\n") == 0);
	CHECK(posix_spawn(&child, "/no/such", NULL, NULL, words, environ) == ENOENT);
	CHECK(posix_spawnp(&child, "true", NULL, NULL, words, environ) == 0);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	return 0;
}
