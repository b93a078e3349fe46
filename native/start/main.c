/* SPDX-License-Identifier: Apache-2.0
 *
 * `softsgx`: begins a run without options by itself, and is Python for all else.
 */
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "start.h"

/* ---- what is asked for ---- */

/* The program and its arguments of a `run` without options; NULL: it is none. */
static char **program_of(char **argv)
{
	if (!argv[0] || !argv[1] || strcmp(argv[1], "run") || !argv[2])
		return NULL;
	argv += 2;
	if (!strcmp(argv[0], "--"))
		argv++;
	else if (argv[0][0] == '-')
		return NULL;
	return argv[0] && argv[0][0] ? argv : NULL;
}

static int is_program(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

/* Where a program is that is named as in a shell; NULL: Python says what is wrong. */
static const char *find_program(const char *name)
{
	static char path[PATH_MAX];
	const char *at = getenv("PATH"), *end;

	if (strchr(name, '/'))
		return is_program(name) ? name : NULL;
	for (; at; at = *end ? end + 1 : NULL) {
		end = strchrnul(at, ':');
		if (end == at || snprintf(path, sizeof(path), "%.*s/%s", (int)(end - at), at,
					  name) >= (int)sizeof(path))
			return NULL;
		if (is_program(path))
			return path;
	}
	return NULL;
}

/* ---- the run ---- */

static int has_report(int errors)
{
	struct pollfd fd = {errors, POLLIN, 0};

	return poll(&fd, 1, 0) > 0 && fd.revents & POLLIN;
}

static int has_callers(int listener)
{
	struct pollfd fd = {listener, 0, 0};

	return !poll(&fd, 1, 0);
}

/* Serve a program to its end.  What remains to be said or served then is Python's. */
static void serve(struct run *run)
{
	const struct seccomp_notif *calls;
	int heard = (int)softsgx_hear();

	if (heard < 0 || !crew_begin(run->listener))
		return;
	run->has_ended = softsgx_attend(run->pid, heard, crew_over, &run->status) == 1;
	close(heard);
	if (run->has_ended)
		crew_settle();
	if (run->has_ended && WIFEXITED(run->status) && !has_callers(run->listener) &&
	    !has_report(run->errors) && !crew_handed(&calls))
		_exit(WEXITSTATUS(run->status));
	crew_retire();
}

int main(int argc, char **argv, char **envp)
{
	char **program = program_of(argv);
	const char *path = program && has_python() ? find_program(program[0]) : NULL;
	struct start start;
	struct run run = {0};
	int fds[2];
	long pid;

	(void)argc;
	if (!path || !recall_start(&start))
		become_python(argv, NULL, NULL);
	pid = softsgx_launch(path, program, envp, fds);
	if (pid < 0)
		become_python(argv, NULL, NULL);
	run = (struct run){.pid = (pid_t)pid, .listener = fds[0], .errors = fds[1]};
	softsgx_all_descriptors();
	if (!softsgx_plain_begin(run.listener, &start.image, start.files))
		serve(&run);
	become_python(argv, &start, &run);
}
