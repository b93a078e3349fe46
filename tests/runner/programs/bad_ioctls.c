/* Each bad argument of an ioctl gets the errno that Linux gives it. */
#include "hostile.h"

static void refused(int fd, unsigned long cmd, const void *arg, int number)
{
	int ret = ioctl(fd, cmd, arg);

	if (ret != -1 || errno != number)
		fprintf(stderr, "ioctl(%d, %#lx): %d, errno %d, not %d\n", fd, cmd, ret,
			errno, number);
	CHECK(ret == -1 && errno == number);
}

static const unsigned long structured[] = {
	SGX_IOC_ENCLAVE_CREATE, SGX_IOC_ENCLAVE_ADD_PAGES, SGX_IOC_ENCLAVE_INIT,
	SGX_IOC_ENCLAVE_PROVISION,
};

int main(void)
{
	uint8_t *edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open_enclave(), pipes[2];
	struct sgx_enclave_create create = { .src = (uint64_t)edge };

	CHECK(edge != MAP_FAILED && munmap(edge + PAGE, PAGE) == 0 && pipe(pipes) == 0);
	refused(fd, _IO(SGX_MAGIC, 0x55), NULL, ENOTTY);
	refused(fd, SGX_IOC_ENCLAVE_CREATE, NULL, EFAULT);
	refused(fd, SGX_IOC_ENCLAVE_CREATE, (void *)-1, EFAULT);
	refused(fd, SGX_IOC_ENCLAVE_CREATE, (void *)0x8000000000000000ul, EFAULT);
	/* The structure, or what it points to, ends where memory does. */
	refused(fd, SGX_IOC_ENCLAVE_CREATE, edge + PAGE - 4, EFAULT);
	create.src = (uint64_t)edge + 8;
	refused(fd, SGX_IOC_ENCLAVE_CREATE, &create, EFAULT);
	create.src = (uint64_t)edge;
	refused(fd, SGX_IOC_ENCLAVE_CREATE, &create, EINVAL); /* all zero */
	/* Not created yet. */
	for (size_t i = 1; i < sizeof(structured) / sizeof(structured[0]) - 1; i++)
		refused(fd, structured[i], edge, EINVAL);
	refused(fd, SGX_IOC_ENCLAVE_PROVISION, edge + PAGE - 4, EFAULT);
	/* Not our files. */
	for (size_t i = 0; i < sizeof(structured) / sizeof(structured[0]); i++) {
		refused(pipes[0], structured[i], edge, ENOTTY);
		refused(-1, structured[i], edge, EBADF);
		refused(9999, structured[i], edge, EBADF);
	}
	CHECK(close(fd) == 0);
	refused(fd, SGX_IOC_ENCLAVE_CREATE, &create, EBADF);
	fd = open("/dev/sgx_provision", O_RDONLY);
	CHECK(fd >= 0);
	refused(fd, SGX_IOC_ENCLAVE_CREATE, &create, ENOTTY);
	printf("survived\n");
	return 0;
}
