/* What the three EDMM ioctls answer on a fresh /dev/sgx_enclave. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define RESTRICT_PERMISSIONS 0xc028a405u
#define MODIFY_TYPES         0xc028a406u
#define REMOVE_PAGES         0xc018a407u

static void ask(int fd, const char *name, unsigned long request)
{
	unsigned char argument[64];

	memset(argument, 0, sizeof(argument));
	if (ioctl(fd, request, argument) == 0)
		printf("%s 0\n", name);
	else
		printf("%s %s\n", name, strerrorname_np(errno));
}

int main(void)
{
	int fd = open("/dev/sgx_enclave", O_RDWR);

	if (fd < 0) {
		perror("/dev/sgx_enclave");
		return 1;
	}
	ask(fd, "RESTRICT_PERMISSIONS", RESTRICT_PERMISSIONS);
	ask(fd, "MODIFY_TYPES", MODIFY_TYPES);
	ask(fd, "REMOVE_PAGES", REMOVE_PAGES);
	return 0;
}
