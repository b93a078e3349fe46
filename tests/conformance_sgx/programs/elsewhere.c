/* The device by other ways: its directory mounted at a second place, and a process with
 * another root directory, with and without it.
 */
#include "host.h"

#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define NODE "sgx_enclave"
#define SIZE 0x10000

static char jail[] = "/tmp/elsewhere-XXXXXX";
static struct stat known;

static void check_node(const char *path)
{
	struct stat found;
	int fd = open(path, O_RDWR);

	CHECK(fd >= 0 && close(fd) == 0);
	CHECK(access(path, R_OK | W_OK) == 0);
	CHECK(stat(path, &found) == 0);
	CHECK(found.st_ino == known.st_ino && found.st_rdev == known.st_rdev);
}

static int lists_node(const char *directory)
{
	struct dirent *entry;
	DIR *dir = opendir(directory);
	int found = 0;

	CHECK(dir);
	while ((entry = readdir(dir)))
		found += strcmp(entry->d_name, NODE) == 0;
	closedir(dir);
	return found;
}

static void make(const char *name)
{
	CHECK(mkdir(name, 0755) == 0);
}

/* In a jail with the whole of /dev, and in one with a directory of that name. */
static void in_jail(void)
{
	struct secs secs = { .ssaframesize = 1, .attributes = 4, .xfrm = 3 };

	CHECK(chdir(jail) == 0 && chroot(".") == 0);
	check_node("/dev/" NODE);
	check_node("dev/" NODE);
	CHECK(chdir("/dev") == 0);
	check_node(NODE);
	CHECK(lists_node("/dev") == 1);
	enclave_create(SIZE, &secs);
	CHECK(chroot("/other") == 0);
	CHECK_FAILS(open("/dev/" NODE, O_RDWR), ENOENT);
	CHECK_FAILS(access("/dev/" NODE, F_OK), ENOENT);
	CHECK(lists_node("/dev") == 0);
}

static void clean_up(void)
{
	CHECK(chdir(jail) == 0);
	CHECK(rmdir("dev") == 0 && rmdir("other/dev") == 0 && rmdir("other") == 0);
	CHECK(rmdir("second") == 0 && rmdir(jail) == 0);
}

static void child(void)
{
	char second[64];

	/* Where none of this is allowed there is nothing to be seen. */
	if (unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS))
		_exit(0);
	CHECK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(mount("/dev", "second", NULL, MS_BIND | MS_REC, NULL) == 0);
	CHECK(mount("/dev", "dev", NULL, MS_BIND | MS_REC, NULL) == 0);
	check_node("second/" NODE);
	snprintf(second, sizeof(second), "%s/second", jail);
	CHECK(lists_node(second) == 1);
	CHECK(chdir(second) == 0);
	check_node(NODE);
	check_node("../second/./" NODE);
	in_jail();
	_exit(0);
}

int main(void)
{
	int status;
	pid_t pid;

	CHECK(stat("/dev/" NODE, &known) == 0);
	CHECK(mkdtemp(jail) && chdir(jail) == 0);
	make("dev");
	make("second");
	make("other");
	make("other/dev");
	pid = fork();
	if (pid == 0)
		child();
	CHECK(waitpid(pid, &status, 0) == pid);
	clean_up();
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return 0;
}
