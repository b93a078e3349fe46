/* The device in sandboxes, as those are made: a node bound into another directory, with
 * devices and without, and a /dev of its own.
 * link: all
 */
#include "host.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define ENCLAVE "/dev/sgx_enclave"
#define CREATE 0x4008a400 /* SGX_IOC_ENCLAVE_CREATE */

static char place[] = "/tmp/sandbox-XXXXXX", node[64];

static void check_device(const char *path)
{
	int fd = open(path, O_RDWR);

	CHECK(fd >= 0);
	CHECK_FAILS(ioctl(fd, CREATE, NULL), EFAULT);
	CHECK(close(fd) == 0);
}

static void make_file(void)
{
	int fd = open(node, O_WRONLY | O_CREAT, 0600);

	CHECK(fd >= 0 && close(fd) == 0);
}

static void bound(const char *source)
{
	struct stat there, here;
	char name[32], link[64] = { 0 };
	int fd;

	CHECK(mount(source, node, NULL, MS_BIND, NULL) == 0);
	CHECK(stat(ENCLAVE, &there) == 0 && stat(node, &here) == 0);
	CHECK(S_ISCHR(here.st_mode) && here.st_rdev == there.st_rdev);
	check_device(node);
	fd = open(node, O_PATH);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	CHECK(readlink(name, link, sizeof(link) - 1) > 0 && !strcmp(link, node));
	CHECK(close(fd) == 0);
	CHECK(mount("none", node, NULL, MS_REMOUNT | MS_BIND | MS_NODEV, NULL) == 0);
	CHECK_FAILS(open(node, O_RDWR), EACCES);
	CHECK(umount(node) == 0);
	CHECK(stat(node, &here) == 0 && S_ISREG(here.st_mode));
}

/* As container engines do it: the node, then a directory that becomes /dev. */
static void own_dev(void)
{
	struct stat st;

	CHECK(mount(ENCLAVE, node, NULL, MS_BIND, NULL) == 0);
	CHECK(mount(place, "/dev", NULL, MS_BIND | MS_REC, NULL) == 0);
	check_device(ENCLAVE);
	CHECK_FAILS(open("/dev/sgx/enclave", O_RDWR), ENOENT);
	CHECK_FAILS(access("/dev/sgx_provision", F_OK), ENOENT);
	CHECK(umount(ENCLAVE) == 0);
	CHECK(stat(ENCLAVE, &st) == 0 && S_ISREG(st.st_mode));
	CHECK(umount("/dev") == 0);
	CHECK(umount(node) == 0);
	check_device(ENCLAVE);
}

int main(void)
{
	if (unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return 0; /* not in this sandbox */
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return 0;
	CHECK(mkdtemp(place));
	if (mount("tmpfs", place, "tmpfs", 0, NULL))
		return rmdir(place);
	snprintf(node, sizeof(node), "%s/sgx_enclave", place);
	if (geteuid() == 0) {
		make_file();
		bound(ENCLAVE);
		bound("/dev/sgx/enclave");
		own_dev();
	}
	CHECK(umount(place) == 0 && rmdir(place) == 0);
	return 0;
}
