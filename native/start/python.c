/* SPDX-License-Identifier: Apache-2.0
 *
 * The step to Python: an execve, which leaves us our number, our children, our signals
 * and those descriptors that we let.  runner/handed.py goes on with what is told here.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gen_abi.h"
#include "start.h"

#define SCRIPT "softsgx-python"
#define OPTION "--handed"
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define NOT_STARTED 125

/* The script beside us; "": there is none. */
static const char *find_script(void)
{
	static char path[PATH_MAX];
	ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *name;

	path[size < 0 ? 0 : size] = 0;
	name = strrchr(path, '/');
	if (!name || name + 1 + sizeof(SCRIPT) > path + sizeof(path))
		return "";
	strcpy(name + 1, SCRIPT);
	return path;
}

int has_python(void)
{
	return !access(find_script(), X_OK);
}

/* A copy that stays over the execve, and is no standard stream of Python's. */
static uint32_t lasting(int fd)
{
	return (uint32_t)fcntl(fd, F_DUPFD, STDERR_FILENO + 1);
}

static int write_all(int fd, const void *from, size_t size)
{
	return write(fd, from, size) == (ssize_t)size;
}

/* Write down all that Python needs to go on; -1. */
static int tell(const struct start *start, const struct run *run)
{
	static struct softsgx_start starts[MAX_WAITING];
	const struct seccomp_notif *calls;
	struct abi_handed head = {
		.pid = (uint32_t)run->pid, .has_ended = (uint32_t)run->has_ended,
		.status = (uint32_t)run->status, .listener = lasting(run->listener),
		.errors = lasting(run->errors), .rewrite = start->files != NULL,
	};
	int fd = memfd_create("softsgx", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	head.calls = (uint32_t)crew_handed(&calls);
	head.starts = (uint32_t)waiting_all(run->listener, starts, MAX_WAITING);
	head.config_size = (uint32_t)start->image.config_size;
	if (fd < 0 || !write_all(fd, &head, sizeof(head)) ||
	    !write_all(fd, calls, head.calls * sizeof(*calls)) ||
	    !write_all(fd, starts, head.starts * sizeof(*starts)) ||
	    !write_all(fd, start->image.config, head.config_size) ||
	    fcntl(fd, F_ADD_SEALS, SEALS))
		return -1;
	return (int)lasting(fd);
}

void become_python(char **argv, const struct start *start, const struct run *run)
{
	size_t count = 0, at = 1;
	char number[16], **words;
	int fd = run ? tell(start, run) : -1;

	while (argv[count])
		count++;
	words = calloc(count + 4, sizeof(*words));
	if (words && (fd >= 0 || !run)) {
		words[0] = argv[0];
		if (run) {
			snprintf(number, sizeof(number), "%d", fd);
			words[at++] = OPTION;
			words[at++] = number;
		}
		if (count)
			memcpy(words + at, argv + 1, (count - 1) * sizeof(*words));
		execv(find_script(), words);
	}
	fprintf(stderr, "softsgx: %s: %s (install softsgx again)\n", find_script(),
		strerror(errno));
	_exit(NOT_STARTED);
}
