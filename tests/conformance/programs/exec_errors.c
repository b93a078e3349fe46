/* exec that fails says why and changes nothing; scripts and descriptors execute. */
#include "check.h"
#include <fcntl.h>
#include <sys/stat.h>

extern char **environ;

static int script(const char *text)
{
	char path[] = "/tmp/conformance-XXXXXX", *words[] = { "x", NULL };
	int fd = mkstemp(path), status;
	pid_t child;

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	CHECK(fchmod(fd, 0700) == 0 && close(fd) == 0);
	child = fork();
	if (child == 0) {
		execve(path, words, environ);
		_exit(errno == ENOEXEC ? 100 : 101);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
	CHECK(unlink(path) == 0);
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	char *words[] = { "self", "again", NULL };
	int fd;

	if (argc > 1)
		return strcmp(argv[1], "again") != 0;
	CHECK_FAILS(execve("/no/such", words, environ), ENOENT);
	CHECK_FAILS(execve("/dev", words, environ), EACCES);
	CHECK_FAILS(execve("/dev/null", words, environ), EACCES);
	CHECK_FAILS(execve("/proc/self/exe/x", words, environ), ENOTDIR);
	CHECK_FAILS(syscall(SYS_execve, 8, words, environ), EFAULT);
	CHECK_FAILS(syscall(SYS_execve, "/proc/self/exe", 8, environ), EFAULT);
	CHECK_FAILS(syscall(SYS_execve, "/proc/self/exe", words, 8), EFAULT);
	CHECK(script("#!/bin/sh\nexit 61\n") == 61);
	CHECK(script("#!/no/such/interpreter\n") == 101);
	CHECK(script("no header\n") == 100);
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	fexecve(fd, words, environ);
	return 1;
}
