/* mmap and mprotect of enclaves: what Linux refuses, and with which error. */
#include "host.h"

#include <sys/syscall.h>

/* Not by the C library, which refuses some itself. */
#define MAP_FAILS(start, size, prot, flags, offset, error) \
	CHECK_FAILS(syscall(SYS_mmap, start, size, prot, flags, e.fd, offset), error)

int main(void)
{
	const int rw = PROT_READ | PROT_WRITE, fixed = MAP_SHARED | MAP_FIXED;
	struct enclave e = host_load("3");
	uint64_t page = e.base + SPARE;

	MAP_FAILS(page, PAGE, rw, fixed, 1, EINVAL);
	MAP_FAILS(0, PAGE, rw, MAP_SHARED, PAGE / 2, EINVAL);
	MAP_FAILS(page, 0, rw, fixed, 0, EINVAL);
	MAP_FAILS(0, 0ul - PAGE / 2, rw, MAP_SHARED, 0, ENOMEM);
	MAP_FAILS(page, 0ul - PAGE / 2, rw, fixed, 0, ENOMEM);
	MAP_FAILS(page, PAGE, rw, MAP_PRIVATE | MAP_FIXED, 0, EINVAL);
	MAP_FAILS(page, PAGE, rw, MAP_SHARED_VALIDATE | MAP_FIXED | MAP_SYNC, 0, EOPNOTSUPP);
	MAP_FAILS(page, PAGE, rw, fixed | MAP_GROWSDOWN, 0, EINVAL);
	MAP_FAILS(page, PAGE, rw, fixed | MAP_HUGETLB, 0, EINVAL);
	MAP_FAILS(e.base + ENCLAVE_SIZE, PAGE, PROT_NONE, fixed, 0, EACCES);
	CHECK(mmap((void *)page, PAGE, rw, fixed, e.fd, 7 * PAGE) == (void *)page);
	CHECK_FAILS(mprotect((void *)page, PAGE, rw | PROT_GROWSDOWN), EINVAL);
	CHECK_FAILS(mprotect((void *)page, PAGE, 0x10), EINVAL);
	CHECK_FAILS(mprotect((void *)(page + 1), PAGE, rw), EINVAL);
	/* A hole behind it; then memory that takes the protection. */
	CHECK(munmap((void *)(page + PAGE), PAGE) == 0);
	CHECK_FAILS(mprotect((void *)page, 2 * PAGE, PROT_READ), ENOMEM);
	CHECK(mmap((void *)(page + PAGE), PAGE, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	CHECK(mprotect((void *)page, 2 * PAGE, rw) == 0);
	*(volatile uint8_t *)(page + PAGE) = 1;
	return 0;
}
