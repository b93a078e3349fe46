/* SPDX-License-Identifier: Apache-2.0 */
/* The device's nodes, by every way to name and look at a file.  Linux with the udev rules
 * of Intel's platform software: /dev/sgx holds links.
 * link: all
 */
#include "host.h"

#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define ENCLAVE "/dev/sgx_enclave"
#define CREATE 0x4008a400 /* SGX_IOC_ENCLAVE_CREATE */

/* The number of the misc device in /proc/misc. */
static unsigned int minor_of(const char *wanted)
{
	FILE *misc = fopen("/proc/misc", "r");
	unsigned int number, found = ~0u;
	char name[64];

	CHECK(misc);
	while (fscanf(misc, "%u %63s", &number, name) == 2)
		if (!strcmp(name, wanted))
			found = number;
	fclose(misc);
	CHECK(found != ~0u);
	return found;
}

static void check_node(const struct stat *st, unsigned int minor)
{
	CHECK(S_ISCHR(st->st_mode));
	CHECK(st->st_rdev == makedev(10, minor));
	CHECK(st->st_uid == 0 && st->st_size == 0 && st->st_nlink == 1);
}

/* It is the enclave's device: a CREATE without an address is EFAULT. */
static void check_device(int fd)
{
	char link[64];
	ssize_t size;
	char name[32];

	CHECK(fd >= 0);
	CHECK_FAILS(ioctl(fd, CREATE, NULL), EFAULT);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	size = readlink(name, link, sizeof(link));
	CHECK(size == sizeof(ENCLAVE) - 1 && !memcmp(link, ENCLAVE, (size_t)size));
	CHECK(close(fd) == 0);
}

/* Not every C library has statx. */
static void extended(int dev, int fd, unsigned int minor)
{
#ifdef STATX_BASIC_STATS
	struct statx sx;

	CHECK(statx(dev, "sgx_enclave", 0, STATX_BASIC_STATS, &sx) == 0);
	CHECK(S_ISCHR(sx.stx_mode) && sx.stx_nlink == 1 && sx.stx_size == 0);
	CHECK(sx.stx_rdev_major == 10 && sx.stx_rdev_minor == minor);
	CHECK(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &sx) == 0);
	CHECK(S_ISCHR(sx.stx_mode) && sx.stx_rdev_minor == minor);
#else
	(void)dev, (void)fd, (void)minor;
#endif
}

static void looks(unsigned int minor)
{
	struct stat st, same;
	int dev = open("/dev", O_RDONLY | O_DIRECTORY), fd;

	CHECK(stat(ENCLAVE, &st) == 0);
	check_node(&st, minor);
	CHECK((st.st_mode & 0777) == 0666 || (st.st_mode & 0777) == 0660);
	CHECK(lstat(ENCLAVE, &same) == 0 && same.st_ino == st.st_ino);
	CHECK(fstatat(dev, "sgx_enclave", &same, 0) == 0 && same.st_ino == st.st_ino);
	CHECK(stat("/dev/../dev/./sgx_enclave", &same) == 0 && same.st_ino == st.st_ino);
	fd = open(ENCLAVE, O_RDWR);
	CHECK(fstat(fd, &same) == 0 && same.st_ino == st.st_ino);
	check_node(&same, minor);
	extended(dev, fd, minor);
	close(fd);
	close(dev);
}

static void accesses(void)
{
	CHECK(access(ENCLAVE, F_OK) == 0 && access(ENCLAVE, R_OK | W_OK) == 0);
	CHECK_FAILS(access(ENCLAVE, X_OK), EACCES);
	CHECK(faccessat(AT_FDCWD, ENCLAVE, R_OK, AT_EACCESS) == 0);
	CHECK(euidaccess(ENCLAVE, R_OK | W_OK) == 0);
	CHECK_FAILS(access(ENCLAVE, 64), EINVAL);
	CHECK_FAILS(access("/dev/sgx/nothing", F_OK), ENOENT);
	CHECK_FAILS(readlink(ENCLAVE, (char[8]){0}, 8), EINVAL);
	CHECK_FAILS(getxattr(ENCLAVE, "user.none", NULL, 0), ENODATA);
}

static void opens(const char *own)
{
	int dev = open("/dev", O_PATH | O_DIRECTORY), path, fd;
	char name[32];

	check_device(open(ENCLAVE, O_RDWR));
	check_device(openat(dev, "sgx_enclave", O_RDWR));
	check_device(openat(dev, "sgx/enclave", O_RDWR));
	check_device(open("/dev/sgx/enclave", O_RDWR));
	check_device(open(own, O_RDWR));
	check_device(open("/dev/sgx/../sgx_enclave", O_RDWR | O_CREAT | O_TRUNC, 0600));
	CHECK(fchdir(dev) == 0);
	check_device(open("sgx_enclave", O_RDWR));
	check_device(open("../dev//sgx/./enclave", O_RDWR));

	CHECK_FAILS(open(ENCLAVE, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
	CHECK_FAILS(open(ENCLAVE "/", O_RDWR), ENOTDIR);
	CHECK_FAILS(open(ENCLAVE, O_RDONLY | O_DIRECTORY), ENOTDIR);
	CHECK_FAILS(open("/dev/sgx/enclave", O_RDWR | O_NOFOLLOW), ELOOP);
	CHECK_FAILS(open("/dev/sgx", O_RDWR), EISDIR);

	path = open(ENCLAVE, O_PATH);
	CHECK(path >= 0);
	CHECK_FAILS(ioctl(path, CREATE, NULL), EBADF);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", path);
	check_device(open(name, O_RDWR));
	close(path);
	close(dev);

	/* An open of an open device is a device of its own. */
	fd = open(ENCLAVE, O_RDWR);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	check_device(open(name, O_RDWR));
	close(fd);
}

/* Ways to name a node that Linux refuses before it looks at the device. */
static void odd_names(void)
{
	static const char *const through[] = { ENCLAVE "/x", ENCLAVE "/..", ENCLAVE "/../null",
					       ENCLAVE "/.", ENCLAVE "//", "/dev/sgx/enclave/x",
					       "/dev/sgx_provision/", "/dev/sgx_provision/x/y" };
	struct stat st;
	char link[8];
	int fd;

	for (size_t i = 0; i < sizeof(through) / sizeof(through[0]); i++) {
		CHECK_FAILS(open(through[i], O_RDONLY), ENOTDIR);
		CHECK_FAILS(open(through[i], O_PATH), ENOTDIR);
		CHECK_FAILS(stat(through[i], &st), ENOTDIR);
		CHECK_FAILS(lstat(through[i], &st), ENOTDIR);
		CHECK_FAILS(access(through[i], F_OK), ENOTDIR);
		CHECK_FAILS(readlink(through[i], link, sizeof(link)), ENOTDIR);
		CHECK_FAILS(getxattr(through[i], "user.none", NULL, 0), ENOTDIR);
	}
	CHECK_FAILS(open(ENCLAVE "/x", O_CREAT | O_RDWR, 0600), ENOTDIR);
	CHECK_FAILS(open(ENCLAVE "/", O_CREAT | O_RDWR, 0600), EISDIR);
	CHECK_FAILS(open(ENCLAVE "/", O_CREAT | O_EXCL | O_RDWR, 0600), EISDIR);
	CHECK_FAILS(open(ENCLAVE "/.", O_CREAT | O_RDWR, 0600), ENOTDIR);
	CHECK_FAILS(open(ENCLAVE, O_RDWR | O_DIRECT), EINVAL);
	CHECK_FAILS(open(ENCLAVE, O_PATH | O_DIRECTORY), ENOTDIR);
	CHECK_FAILS(fstatat(AT_FDCWD, ENCLAVE, &st, 0x40000000), EINVAL);
	CHECK_FAILS(syscall(SYS_readlink, ENCLAVE "/x", link, 0), EINVAL);
	fd = open(ENCLAVE, O_RDWR);
	CHECK_FAILS(openat(fd, "x", O_RDONLY), ENOTDIR);
	CHECK_FAILS(fstatat(fd, "..", &st, 0), ENOTDIR);
	CHECK(fdopendir(fd) == NULL && errno == ENOTDIR);
	CHECK(close(fd) == 0);
}

static int has_entry(DIR *directory, const char *name, int type)
{
	struct dirent *entry;
	int found = 0;

	while ((entry = readdir(directory)))
		if (!strcmp(entry->d_name, name)) {
			CHECK(entry->d_type == type || entry->d_type == DT_UNKNOWN);
			found++;
		}
	return found;
}

static void lists(void)
{
	DIR *dev = opendir("/dev"), *sgx = opendir("/dev/sgx");

	CHECK(dev && sgx);
	for (int round = 0; round < 2; round++) {
		CHECK(has_entry(dev, "sgx_enclave", DT_CHR) == 1);
		rewinddir(dev);
		CHECK(has_entry(dev, "null", DT_CHR) == 1);
		rewinddir(dev);
		CHECK(has_entry(dev, "sgx", DT_DIR) == 1);
		rewinddir(dev);
		CHECK(has_entry(sgx, "enclave", DT_LNK) == 1);
		rewinddir(sgx);
		CHECK(has_entry(sgx, ".", DT_DIR) == 1);
		rewinddir(sgx);
	}
	CHECK(faccessat(dirfd(sgx), "enclave", F_OK, 0) == 0);
	CHECK_FAILS(faccessat(dirfd(sgx), "nothing", F_OK, 0), ENOENT);
	closedir(sgx);
	closedir(dev);
}

/* What lies above a directory of ours is the machine's. */
static void check_above(void)
{
	struct stat above, dev;

	CHECK(stat("/dev/sgx/..", &above) == 0 && lstat("/dev", &dev) == 0);
	CHECK(above.st_dev == dev.st_dev && above.st_ino == dev.st_ino);
	CHECK(above.st_mode == dev.st_mode && above.st_nlink == dev.st_nlink);
	CHECK(above.st_uid == dev.st_uid && above.st_mtime == dev.st_mtime);
	CHECK(access("/dev/sgx/..", R_OK | X_OK) == 0);
	CHECK_FAILS(lgetxattr("/dev/sgx/..", "user.x", NULL, 0), ENODATA);
	CHECK_FAILS(stat("/dev/sgx/../..x", &above), ENOENT);
}

static void links(const char *own)
{
	struct stat st;
	char real[PATH_MAX], link[64];

	CHECK(lstat("/dev/sgx/enclave", &st) == 0 && S_ISLNK(st.st_mode));
	CHECK(readlink("/dev/sgx/enclave", link, sizeof(link)) == (ssize_t)st.st_size);
	CHECK(stat("/dev/sgx/provision", &st) == 0 && S_ISCHR(st.st_mode));
	CHECK(stat("/dev/sgx", &st) == 0 && S_ISDIR(st.st_mode));
	check_above();
	CHECK(realpath("/dev/sgx/enclave", real) && !strcmp(real, ENCLAVE));
	CHECK(realpath(own, real) && !strcmp(real, ENCLAVE));
	CHECK(stat(own, &st) == 0 && S_ISCHR(st.st_mode));
	CHECK(lstat(own, &st) == 0 && S_ISLNK(st.st_mode));
}

int main(void)
{
	char own[64];

	snprintf(own, sizeof(own), "/tmp/conformance-nodes-%d", (int)getpid());
	CHECK(symlink("/dev/sgx/enclave", own) == 0);
	looks(minor_of("sgx_enclave"));
	CHECK(minor_of("sgx_provision") != minor_of("sgx_enclave"));
	accesses();
	lists();
	links(own);
	odd_names();
	opens(own);
	CHECK(unlink(own) == 0);
	return 0;
}
