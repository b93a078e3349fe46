/* open with odd paths, odd directories and bad pointers. */
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

static void opens(int directory, const char *path, int flags)
{
	int fd = openat(directory, path, flags);

	CHECK(fd >= 0 && close(fd) == 0);
}

/* A path whose last byte is the last byte before unmapped memory. */
static char *at_the_edge(const char *path)
{
	size_t size = strlen(path) + 1;
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(pages != MAP_FAILED && munmap(pages + 4096, 4096) == 0);
	return memcpy(pages + 4096 - size, path, size);
}

int main(void)
{
	char longest[5000], *edge = at_the_edge("/dev/null");
	int dev = open("/dev", O_RDONLY | O_DIRECTORY);
	struct stat about;

	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	CHECK(dev >= 0);
	opens(AT_FDCWD, "/dev/null", O_RDWR);
	opens(AT_FDCWD, "/dev/../dev//./null", O_RDONLY);
	opens(dev, "null", O_WRONLY);
	opens(987, "/dev/null", O_RDONLY);
	opens(dev, "/dev/null", O_PATH);
	opens(AT_FDCWD, edge, O_RDWR);
	CHECK(chdir("/dev") == 0);
	opens(AT_FDCWD, "null", O_RDWR);
	opens(AT_FDCWD, "../dev/null", O_RDWR);

	CHECK_FAILS(open((char *)8, O_RDONLY), EFAULT);
	CHECK_FAILS(openat(dev, (char *)-4096l, O_RDONLY), EFAULT);
	CHECK_FAILS(open("", O_RDONLY), ENOENT);
	CHECK_FAILS(open(longest, O_RDONLY), ENAMETOOLONG);
	CHECK_FAILS(openat(987, "null", O_RDONLY), EBADF);
	CHECK_FAILS(openat(987, "sgx_enclave", O_RDONLY), EBADF);
	CHECK_FAILS(open("/dev/sgx_enclavex", O_RDWR), ENOENT);
	CHECK_FAILS(open("/dev/sgx_enclav", O_RDWR), ENOENT);
	CHECK_FAILS(open("/dev/null/sgx_enclave", O_RDWR), ENOTDIR);
	CHECK_FAILS(open("/dev", O_RDWR), EISDIR);
	memcpy(edge + strlen(edge), "x", 1);
	CHECK_FAILS(open(edge, O_RDONLY), EFAULT);
	CHECK_FAILS(stat((char *)8, &about), EFAULT);
	CHECK_FAILS(syscall(SYS_newfstatat, AT_FDCWD, "/dev/null", (void *)8, 0), EFAULT);
	CHECK_FAILS(access((char *)8, R_OK), EFAULT);
	return 0;
}
