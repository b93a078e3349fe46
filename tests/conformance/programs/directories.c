/* readdir gives each entry once; getdents64 checks its pointer. */
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

int main(void)
{
	char folder[] = "conformance-XXXXXX", name[300];
	int count = 0, dots = 0, null_seen = 0, fd;
	struct dirent *entry;
	DIR *directory;

	CHECK(chdir("/tmp") == 0 && mkdtemp(folder) != NULL);
	CHECK(chdir(folder) == 0);
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		CHECK(close(open(name, O_CREAT | O_WRONLY, 0600)) == 0);
	}
	directory = opendir(".");
	CHECK(directory != NULL);
	while ((entry = readdir(directory))) {
		if (entry->d_name[0] == '.') {
			dots++;
			continue;
		}
		count++;
		CHECK(unlink(entry->d_name) == 0);
	}
	CHECK(count == 500 && dots == 2);
	fd = dirfd(directory);
	lseek(fd, 0, SEEK_SET);
	CHECK_FAILS(syscall(SYS_getdents64, fd, (void *)8, 1024), EFAULT);
	CHECK(closedir(directory) == 0);
	CHECK(chdir("/") == 0);
	snprintf(name, sizeof(name), "/tmp/%s", folder);
	CHECK(rmdir(name) == 0);
	directory = opendir("/dev");
	while ((entry = readdir(directory)))
		null_seen += !strcmp(entry->d_name, "null");
	CHECK(null_seen == 1 && closedir(directory) == 0);
	return 0;
}
