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

/* No register but RAX tells of it. */
static int registers_stay(const char *path, char *const *words)
{
	register uint64_t r10 __asm__("r10") = 10;
	register uint64_t r8 __asm__("r8") = 8;
	register uint64_t r9 __asm__("r9") = 9;
	long ret = SYS_execve;

	__asm__ volatile("syscall"
			 : "+a"(ret), "+r"(r10), "+r"(r8), "+r"(r9)
			 : "D"(path), "S"(words), "d"(environ)
			 : "rcx", "r11", "memory");
	return ret == -ENOENT && r10 == 10 && r8 == 8 && r9 == 9;
}

/* What is not there is not there by any name. */
static void missing(char *const *words)
{
	char directory[] = "/tmp/conformance-XXXXXX", long_name[300];

	CHECK(mkdtemp(directory) && chdir(directory) == 0);
	CHECK(symlink("nowhere", "dangling") == 0 && symlink("loop", "loop") == 0);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = 0;
	CHECK_FAILS(execve("", words, environ), ENOENT);
	CHECK_FAILS(execve("here", words, environ), ENOENT);
	CHECK_FAILS(execve("dangling", words, environ), ENOENT);
	CHECK_FAILS(execve("loop", words, environ), ELOOP);
	CHECK_FAILS(execve(long_name, words, environ), ENAMETOOLONG);
	CHECK(registers_stay("here", words));
	CHECK(unlink("dangling") == 0 && unlink("loop") == 0);
	CHECK(chdir("/") == 0 && rmdir(directory) == 0);
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
	missing(words);
	CHECK(script("#!/bin/sh\nexit 61\n") == 61);
	CHECK(script("#!/no/such/interpreter\n") == 101);
	CHECK(script("no header\n") == 100);
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	fexecve(fd, words, environ);
	return 1;
}
