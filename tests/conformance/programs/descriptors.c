/* No descriptor is added, and closing all but the first three breaks nothing.  Prints
 * what was open at the start, for comparison. */
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>

static int highest_open(void)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	int highest = -1;

	CHECK(directory != NULL);
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(directory) &&
		    atoi(entry->d_name) > highest)
			highest = atoi(entry->d_name);
	closedir(directory);
	return highest;
}

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	GREG(context, RIP) += 2;
}

int main(void)
{
	struct rlimit limit;
	int fd, status;

	printf("highest %d\n", highest_open());
	fflush(stdout);
	fd = open("/dev/null", O_RDWR);
	printf("next %d\n", fd);
	CHECK(fd > 2 && close(fd) == 0);
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	for (int i = 3; i < 1100; i++)
		close(i);
	CHECK(syscall(SYS_close_range, 3u, ~0u, 0) == 0);
	for (int i = 3; i < 200; i++)
		CHECK(dup2(2, i) == i);
	catch_signal(SIGILL, handler, 0);
	__asm__ volatile("ud2");
	status = system("exit 4");
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 4);
	CHECK_FAILS(open("/dev/sgx_enclav", O_RDWR), ENOENT);
	return 0;
}
