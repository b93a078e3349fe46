/* The device's directories as working directories, and the file systems of its files.
 *
 * link: all
 */
#include "host.h"

#include <sys/stat.h>
#include <sys/statfs.h>

#define EPC "/sys/devices/system/node/node0/x86"

static void is_device(const char *path)
{
	struct stat status;
	int fd = open(path, O_RDWR);

	CHECK(stat(path, &status) == 0 && S_ISCHR(status.st_mode));
	CHECK(fd >= 0 && close(fd) == 0);
}

static void is_in(const char *wanted)
{
	char path[256];

	CHECK(getcwd(path, sizeof(path)) == path && strcmp(path, wanted) == 0);
	CHECK(syscall(SYS_getcwd, path, strlen(wanted) + 1) == (long)strlen(wanted) + 1);
	CHECK_FAILS(syscall(SYS_getcwd, path, strlen(wanted)), ERANGE);
}

static void directory_of_links(void)
{
	int fd;

	CHECK(chdir("/dev/sgx") == 0);
	is_in("/dev/sgx");
	is_device("enclave");
	is_device("../sgx_enclave");
	CHECK_FAILS(access("nothing", F_OK), ENOENT);
	CHECK_FAILS(chdir("enclave"), ENOTDIR);
	CHECK(chdir(".") == 0);
	is_in("/dev/sgx");
	CHECK(chdir("..") == 0);
	is_in("/dev");
	is_device("sgx/enclave");
	CHECK_FAILS(chdir("sgx_enclave"), ENOTDIR);
	CHECK_FAILS(chdir("sgx/nothing"), ENOENT);
	fd = open("/dev/sgx", O_RDONLY | O_DIRECTORY);
	CHECK(fd >= 0 && fchdir(fd) == 0 && close(fd) == 0);
	is_in("/dev/sgx");
	CHECK(chdir("/dev/sgx/../sgx/.") == 0);
	is_in("/dev/sgx");
}

static void directory_of_texts(void)
{
	struct stat status;
	int above;

	if (chdir(EPC)) /* a kernel without NUMA nodes */
		return;
	is_in(EPC);
	CHECK(stat("sgx_total_bytes", &status) == 0 && S_ISREG(status.st_mode));
	above = open("..", O_RDONLY | O_DIRECTORY);
	CHECK(above >= 0 && faccessat(above, "x86/sgx_total_bytes", R_OK, 0) == 0);
	CHECK(close(above) == 0);
	is_in(EPC);
}

static void in_a_child(void)
{
	char *const list[] = { "ls", NULL };

	CHECK(chdir("/dev/sgx") == 0);
	CHECK(freopen("/dev/null", "w", stdout));
	execvp("ls", list);
	_exit(127);
}

static void file_systems(void)
{
	struct statfs device, near;

	CHECK(chdir("/dev") == 0);
	CHECK(statfs("/dev", &near) == 0);
	CHECK(statfs("/dev/sgx_enclave", &device) == 0 && device.f_type == near.f_type);
	CHECK(statfs("sgx_enclave", &device) == 0 && device.f_type == near.f_type);
	CHECK(statfs("/dev/sgx/enclave", &device) == 0 && device.f_type == near.f_type);
	CHECK(statfs("/dev/sgx", &device) == 0 && device.f_type == near.f_type);
	CHECK(chdir("/dev/sgx") == 0);
	CHECK(statfs("enclave", &device) == 0 && device.f_type == near.f_type);
	CHECK_FAILS(statfs("/dev/sgx/nothing", &device), ENOENT);
	CHECK_FAILS(statfs("/dev/sgx_enclave/x", &device), ENOTDIR);
	CHECK_FAILS(syscall(SYS_statfs, "/dev/sgx_enclave", NULL), EFAULT);
}

int main(void)
{
	directory_of_links();
	directory_of_texts();
	file_systems();
	CHECK(chdir("/") == 0);
	CHECK(status_of(in_a_child) == 0);
	is_in("/");
	return 0;
}
