/* Names of the device's nodes, for who would make them anew, move them or take them away;
 * and nodes of the device that a program makes itself.
 * link: all
 */
#include "host.h"

#include <limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#define ENCLAVE "/dev/sgx_enclave"
#define PROVISION "/dev/sgx_provision"
#define CREATE 0x4008a400 /* SGX_IOC_ENCLAVE_CREATE */
#define NOBODY 65534
/* of openat2 */
#define NO_SYMLINKS 4
#define BENEATH 8
#define IN_ROOT 16

static char place[] = "/tmp/names-XXXXXX", mine[64], node[64];

static void check_device(int fd)
{
	CHECK(fd >= 0);
	CHECK_FAILS(ioctl(fd, CREATE, NULL), EFAULT);
	CHECK(close(fd) == 0);
}

static void made_anew(void)
{
	CHECK_FAILS(mkdir(ENCLAVE, 0700), EEXIST);
	CHECK_FAILS(mkdirat(AT_FDCWD, "/dev/sgx", 0700), EEXIST);
	CHECK_FAILS(mknod(ENCLAVE, S_IFIFO | 0600, 0), EEXIST);
	CHECK_FAILS(mknodat(AT_FDCWD, "/dev/sgx/enclave", S_IFIFO | 0600, 0), EEXIST);
	CHECK_FAILS(symlink("x", ENCLAVE), EEXIST);
	CHECK_FAILS(symlinkat("x", AT_FDCWD, "/dev/sgx/enclave"), EEXIST);
	CHECK_FAILS(link(mine, ENCLAVE), EEXIST);
	CHECK_FAILS(link("/tmp/not there", ENCLAVE), ENOENT);
	CHECK_FAILS(mkdir(ENCLAVE "/x", 0700), ENOTDIR);
	check_device(creat(ENCLAVE, 0600));
}

static void to_other_file_systems(void)
{
	char other[96];

	snprintf(other, sizeof(other), "%s/other", place);
	CHECK_FAILS(rename(ENCLAVE, other), EXDEV);
	CHECK_FAILS(rename(mine, ENCLAVE), EXDEV);
	CHECK_FAILS(renameat(AT_FDCWD, mine, AT_FDCWD, "/dev/sgx/enclave"), EXDEV);
	CHECK_FAILS(link(ENCLAVE, other), EXDEV);
	CHECK_FAILS(rename("/tmp/not there", ENCLAVE), ENOENT);
	CHECK_FAILS(access(other, F_OK), ENOENT);
}

/* Of somebody who may not write to /dev. */
static void taken_away(void)
{
	CHECK_FAILS(unlink(ENCLAVE), EACCES);
	CHECK_FAILS(unlinkat(AT_FDCWD, "/dev/sgx/enclave", 0), EACCES);
	CHECK_FAILS(rmdir("/dev/sgx"), EACCES);
	CHECK_FAILS(unlinkat(AT_FDCWD, ENCLAVE, AT_REMOVEDIR), EACCES);
	CHECK_FAILS(rename(ENCLAVE, "/dev/other"), EACCES);
	CHECK_FAILS(rename(ENCLAVE, PROVISION), EACCES);
	CHECK_FAILS(chmod(ENCLAVE, 0666), EPERM);
	CHECK_FAILS(fchmodat(AT_FDCWD, ENCLAVE, 0666, 0), EPERM);
	CHECK_FAILS(chown(ENCLAVE, getuid(), getgid()), EPERM);
	CHECK_FAILS(lchown("/dev/sgx/enclave", getuid(), getgid()), EPERM);
	CHECK_FAILS(truncate(ENCLAVE, 0), EINVAL);
	CHECK(utimensat(AT_FDCWD, ENCLAVE, NULL, 0) == 0);
	CHECK_FAILS(utimensat(AT_FDCWD, ENCLAVE, (struct timespec[2]){ { 1, 0 } }, 0), EPERM);
	CHECK(access(ENCLAVE, R_OK | W_OK) == 0);
}

static void somebody_else(void)
{
	CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
	taken_away();
}

static void shut_out(void)
{
	CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
	CHECK_FAILS(open(ENCLAVE, O_RDWR), EACCES);
}

/* Root gives it another mode, and its own back. */
static void another_mode(void)
{
	struct stat st, now;

	CHECK(stat(ENCLAVE, &st) == 0);
	CHECK(chmod(ENCLAVE, 0600) == 0);
	CHECK(chown(ENCLAVE, (uid_t)-1, NOBODY) == 0);
	CHECK(stat("/dev/sgx/enclave", &now) == 0);
	CHECK(S_ISCHR(now.st_mode) && (now.st_mode & 07777) == 0600);
	CHECK(now.st_uid == st.st_uid && now.st_gid == NOBODY);
	CHECK(status_of(shut_out) == 0);
	CHECK(chown(ENCLAVE, (uid_t)-1, st.st_gid) == 0);
	CHECK(chmod(ENCLAVE, st.st_mode & 07777) == 0);
}

#ifdef SYS_openat2
static int open_as(int directory, const char *path, uint64_t resolve)
{
	uint64_t how[3] = { O_RDWR, 0, resolve };

	return (int)syscall(SYS_openat2, directory, path, how, sizeof(how));
}

/* Ways that openat2 may be told to go, or not to. */
static void ways(void)
{
	int dev = open("/dev", O_PATH | O_DIRECTORY);

	check_device(open_as(dev, "sgx_enclave", 0));
	check_device(open_as(dev, "sgx/enclave", BENEATH));
	check_device(open_as(dev, "/sgx_enclave", IN_ROOT));
	check_device(open_as(dev, "sgx_enclave", NO_SYMLINKS));
	CHECK_FAILS(open_as(dev, "sgx/enclave", NO_SYMLINKS), ELOOP);
	CHECK_FAILS(open_as(dev, ENCLAVE, BENEATH), EXDEV);
	CHECK_FAILS(open_as(dev, ENCLAVE, IN_ROOT), ENOENT);
	CHECK(close(dev) == 0);
}
#endif

/* A node is what its numbers say, wherever it stands. */
static void own_node(void)
{
	struct statvfs fs;
	struct stat st;

	CHECK(stat(ENCLAVE, &st) == 0 && statvfs(place, &fs) == 0);
	if (mknod(node, S_IFCHR | 0600, st.st_rdev) == -1)
		return; /* not in this sandbox */
	if (fs.f_flag & ST_NODEV)
		CHECK_FAILS(open(node, O_RDWR), EACCES);
	else
		check_device(open(node, O_RDWR));
	CHECK(stat(node, &st) == 0 && (st.st_mode & 07777) == 0600);
	CHECK(unlink(node) == 0);
}

int main(void)
{
	int fd;

	CHECK(mkdtemp(place));
	snprintf(mine, sizeof(mine), "%s/mine", place);
	snprintf(node, sizeof(node), "%s/sgx_enclave", place);
	fd = open(mine, O_WRONLY | O_CREAT, 0600);
	CHECK(fd >= 0 && close(fd) == 0);
	made_anew();
	to_other_file_systems();
#ifdef SYS_openat2
	ways();
#endif
	if (getuid()) {
		taken_away();
	} else {
		CHECK(status_of(somebody_else) == 0);
		another_mode();
		own_node();
	}
	CHECK(unlink(mine) == 0 && rmdir(place) == 0);
	return 0;
}
