/* The owner's lists as files of securityfs, as posted in 2020: what they take, who may
 * open them, and what a lock does.  Begins with empty lists that nobody locked; leaves
 * one key in signing_keys, and launch_keys locked with one.
 *
 * key_files PRINTF: the program of that name, to write by another process.
 */
#include "host.h"

#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define PLACE "/sys/kernel/security/sgx/"
#define SIGNING PLACE "signing_keys"
#define LAUNCH PLACE "launch_keys"
#define KEY "ABABABABabababababababababababababababababababababababababababab\n"
#define LOW "abababababababababababababababababababababababababababababababab\n"
#define OTHER "0000000000000000000000000000000000000000000000000000000000000001\n"
#define SIZE 65

static void holds(const char *path, const char *expected)
{
	char text[1024] = "";
	int fd = open(path, O_RDONLY);

	CHECK(fd >= 0);
	CHECK(read(fd, text, sizeof(text) - 1) == (ssize_t)strlen(expected));
	CHECK(strcmp(text, expected) == 0);
	CHECK(close(fd) == 0);
}

static void is_there(void)
{
	static const char *const names[] = { "dynamic_keys", "launch_keys",
					     "provisioning_keys", "signing_keys" };
	DIR *directory = opendir(PLACE);
	struct dirent *entry;
	struct stat about;
	int found = 0;

	CHECK(directory);
	while ((entry = readdir(directory)))
		for (int i = 0; i < 4; i++)
			found += strcmp(entry->d_name, names[i]) == 0;
	CHECK(found == 4 && closedir(directory) == 0);
	for (int i = 0; i < 4; i++) {
		char path[64];

		snprintf(path, sizeof(path), PLACE "%s", names[i]);
		CHECK(stat(path, &about) == 0);
		CHECK(about.st_mode == (S_IFREG | 0600) && about.st_size == 0);
		CHECK(access(path, R_OK | W_OK) == 0);
		holds(path, "");
	}
	CHECK_FAILS(open(PLACE "unlocking_keys", O_RDONLY), ENOENT);
	CHECK_FAILS(open(SIGNING, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	CHECK_FAILS(open(SIGNING, O_RDONLY | O_DIRECTORY), ENOTDIR);
}

static void refuses(int fd)
{
	CHECK_FAILS(write(fd, KEY, 0), EINVAL);
	CHECK_FAILS(write(fd, KEY, SIZE - 1), EINVAL);
	CHECK_FAILS(write(fd, KEY KEY, SIZE + 1), EINVAL);
	CHECK_FAILS(write(fd, KEY KEY, 2 * SIZE), EINVAL);
	CHECK_FAILS(write(fd, LOW + 1, SIZE), EINVAL);
	CHECK_FAILS(write(fd, "g" LOW, SIZE), EINVAL);
	CHECK_FAILS(write(fd, "clear", 5), EINVAL);
	CHECK_FAILS(write(fd, "lock", 4), EINVAL);
	CHECK_FAILS(write(fd, "unlock\n", 7), EINVAL);
	CHECK_FAILS(syscall(SYS_write, fd, 8, SIZE), EFAULT);
	CHECK_FAILS(pwrite(fd, KEY, SIZE, 1), EINVAL);
	CHECK_FAILS(pwrite(fd, KEY, SIZE, -1), EINVAL);
	CHECK(lseek(fd, 1, SEEK_SET) == 1);
	CHECK_FAILS(write(fd, KEY, SIZE), EINVAL);
	CHECK(lseek(fd, 0, SEEK_SET) == 0);
}

static void takes(void)
{
	struct iovec both[] = { { KEY, SIZE }, { OTHER, SIZE } };
	struct iovec half[] = { { KEY, SIZE }, { OTHER, 3 }, { OTHER, SIZE } };
	int fd = open(SIGNING, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	CHECK(fd >= 0);
	refuses(fd);
	CHECK(write(fd, KEY, SIZE) == SIZE);
	CHECK(write(fd, OTHER, SIZE) == SIZE);
	CHECK(lseek(fd, 0, SEEK_CUR) == 0 && lseek(fd, 0, SEEK_END) == 0);
	CHECK(close(fd) == 0);
	holds(SIGNING, LOW OTHER);

	fd = open(SIGNING, O_RDWR | O_TRUNC);
	CHECK(fd >= 0 && write(fd, "clear\n", 6) == 6);
	CHECK(writev(fd, both, 2) == 2 * SIZE);
	CHECK(writev(fd, half, 3) == SIZE);
	CHECK_FAILS(writev(fd, half + 1, 2), EINVAL);
	CHECK_FAILS(syscall(SYS_writev, fd, 8, 2), EFAULT);
	CHECK(pwrite(fd, OTHER, SIZE, 0) == SIZE);
	CHECK(close(fd) == 0);
	holds(SIGNING, LOW OTHER LOW OTHER);

	fd = open(SIGNING, O_RDONLY);
	CHECK(fd >= 0);
	CHECK_FAILS(write(fd, KEY, SIZE), EBADF);
	CHECK(close(fd) == 0);
	/* Others are written as ever. */
	CHECK((fd = open("/dev/null", O_WRONLY)) >= 0);
	CHECK(write(fd, "abc", 3) == 3 && writev(fd, both, 2) == 2 * SIZE);
	CHECK(close(fd) == 0);
	CHECK_FAILS(write(fd, "abc", 3), EBADF);
}

static pid_t child_of(void)
{
	pid_t child = fork();

	CHECK(child >= 0);
	return child;
}

static void ended(pid_t child)
{
	int status = -1;

	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void one_at_a_time(void)
{
	int fd = open(SIGNING, O_RDONLY), again = dup(fd), other = open(LAUNCH, O_RDWR);
	int go[2];
	char byte;
	pid_t child;

	CHECK(fd >= 0 && again >= 0 && other >= 0 && pipe(go) == 0);
	CHECK_FAILS(open(SIGNING, O_RDONLY), EBUSY);
	CHECK_FAILS(open(SIGNING, O_WRONLY), EBUSY);
	CHECK_FAILS(open(LAUNCH, O_RDONLY), EBUSY);
	CHECK(close(fd) == 0 && close(other) == 0);
	CHECK_FAILS(open(SIGNING, O_RDONLY), EBUSY);
	if ((child = child_of()) == 0) {
		CHECK_FAILS(open(SIGNING, O_RDONLY), EBUSY);
		CHECK(close(go[1]) == 0 && read(go[0], &byte, 1) == 0);
		_exit(0);
	}
	CHECK(close(again) == 0);
	CHECK_FAILS(open(SIGNING, O_RDONLY), EBUSY);
	CHECK(close(go[1]) == 0);
	ended(child);
	CHECK((fd = open(SIGNING, O_RDONLY | O_CLOEXEC)) >= 0 && close(fd) == 0);
}

static void hold_and_die(void)
{
	CHECK(open(SIGNING, O_RDWR) >= 0);
	kill(getpid(), SIGKILL);
}

static void by_others(char *printf_program)
{
	char *command[] = { printf_program, "%s", "clear\n", NULL };
	char *environment[] = { NULL };
	posix_spawn_file_actions_t actions;
	pid_t child;

	CHECK(posix_spawn_file_actions_init(&actions) == 0);
	CHECK(posix_spawn_file_actions_addopen(&actions, 1, SIGNING, O_WRONLY, 0) == 0);
	CHECK(posix_spawn(&child, printf_program, &actions, NULL, command, environment) == 0);
	ended(child);
	holds(SIGNING, "");
	CHECK(system("printf '%s\n' " /* split, so that the shell sees one word */
		     "abababababababababababababababababababababababababababababababab"
		     " > " SIGNING) == 0);
	holds(SIGNING, LOW);
}

static void another_user(void)
{
	CHECK(setuid(65534) == 0);
	CHECK_FAILS(open(SIGNING, O_RDONLY), EACCES);
	CHECK_FAILS(open(SIGNING, O_WRONLY), EACCES);
	CHECK_FAILS(access(SIGNING, R_OK), EACCES);
}

static void locks(void)
{
	int fd = open(LAUNCH, O_RDWR);

	CHECK(fd >= 0 && write(fd, OTHER, SIZE) == SIZE);
	CHECK(write(fd, "lock\n", 5) == 5);
	CHECK_FAILS(write(fd, KEY, SIZE), EACCES);
	CHECK_FAILS(write(fd, "clear\n", 6), EACCES);
	CHECK_FAILS(open(LAUNCH, O_WRONLY), EACCES);
	CHECK_FAILS(open(LAUNCH, O_RDONLY), EBUSY);
	CHECK(close(fd) == 0);
	CHECK_FAILS(open(LAUNCH, O_WRONLY), EACCES);
	CHECK_FAILS(open(LAUNCH, O_RDWR), EACCES);
	holds(LAUNCH, OTHER);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	is_there();
	takes();
	one_at_a_time();
	CHECK(WTERMSIG(status_of(hold_and_die)) == SIGKILL);
	by_others(argv[1]);
	CHECK(geteuid() != 0 || status_of(another_user) == 0);
	locks();
	return 0;
}
