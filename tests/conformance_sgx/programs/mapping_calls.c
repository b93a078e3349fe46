/* mremap and madvise on an enclave's mapping: a device mapping that does not grow. */
#include "host.h"

#include <sys/syscall.h>

int main(void)
{
	static const int refused[] = { MADV_FREE, MADV_DOFORK, MADV_DODUMP,
				       MADV_WIPEONFORK };
	struct enclave e = host_load("3");
	uint64_t page = e.base + SPARE;
	uint8_t *plain;

	CHECK(mmap((void *)page, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		   e.fd, 0) == (void *)page);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENCLU, page, EACCEPT,
		       SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING) == 0);
	vdso_ask(host_tcs(&e, 0), DO_WRITE, page, 0x77, 0);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		CHECK_FAILS(madvise((void *)page, PAGE, refused[i]), EINVAL);
	CHECK(madvise((void *)page, PAGE, MADV_REMOVE) == -1);
	CHECK(madvise((void *)page, PAGE, MADV_DONTDUMP) == 0);
	CHECK(mremap((void *)page, 2 * PAGE, 3 * PAGE, 0) == MAP_FAILED && errno == EFAULT);
	CHECK(mremap((void *)page, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED &&
	      errno == EFAULT);
	CHECK(mremap((void *)page, 2 * PAGE, PAGE, 0) == (void *)page);	/* shrinks */
	CHECK(vdso_ask(host_tcs(&e, 0), DO_READ, page, 0, 0) == 0x77);
	/* Plain memory between two mappings of the enclave is plain memory. */
	plain = mmap((void *)(page + PAGE), PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(plain == (void *)(page + PAGE));
	*plain = 5;
	CHECK(madvise(plain, PAGE, MADV_DONTNEED) == 0 && *plain == 0);
	CHECK(mremap(plain, PAGE, 2 * PAGE, MREMAP_MAYMOVE) != MAP_FAILED);
	/* mremap over the enclave unmaps it there. */
	plain = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mremap(plain, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)page) ==
	      (void *)page);
	*(volatile uint8_t *)page = 3;
	CHECK(vdso_ask(host_tcs(&e, 0), DO_READ, page, 0, 0) == 3);
	return 0;
}
