/* SPDX-License-Identifier: Apache-2.0 */
/* The platform loses its power while a call waits for memory that is not there yet. */
#include "host.h"

#include <linux/userfaultfd.h>
#include <poll.h>

static int enclave_fd;
static uint8_t *page;
static int result, reason;

static int faults_open(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0)
		CHECK(ioctl(fd, UFFDIO_API, &api) == 0);
	return fd;
}

static void *add(void *unused)
{
	struct secinfo secinfo = {.flags = SECINFO_REG | SECINFO_R | SECINFO_W};
	struct sgx_enclave_add_pages add = {.src = (uint64_t)page,
					    .length = PAGE,
					    .secinfo = (uint64_t)&secinfo,
					    .flags = SGX_PAGE_MEASURE};

	result = ioctl(enclave_fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add);
	reason = errno;
	return unused;
}

int main(void)
{
	struct secs secs = {.ssaframesize = 1, .attributes = 4, .xfrm = 3};
	struct uffdio_register range = {.range = {.len = PAGE},
					.mode = UFFDIO_REGISTER_MODE_MISSING};
	int faults = faults_open();
	struct pollfd fd = {.fd = faults, .events = POLLIN};
	pthread_t thread;
	char line[16];

	if (faults < 0) {
		puts("not for this user");
		return 0;
	}
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	range.range.start = (uint64_t)page;
	CHECK(ioctl(faults, UFFDIO_REGISTER, &range) == 0);
	enclave_fd = enclave_create(1 << 20, &secs).fd;
	CHECK(!pthread_create(&thread, NULL, add, NULL));
	CHECK(poll(&fd, 1, 30000) == 1);
	puts("waits");
	fflush(stdout);
	CHECK(fgets(line, sizeof(line), stdin));
	/* Nobody reads the page any more; the call ends all the same. */
	CHECK(!pthread_join(thread, NULL));
	CHECK(result == -1 && reason == EIO);
	puts("done");
	fflush(stdout);
	return 0;
}
