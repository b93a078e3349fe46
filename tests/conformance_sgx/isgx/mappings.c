/* The mapping of /dev/isgx is the enclave: where it may be, what it may ask, who has it,
 * and what is left of it when a part is gone.
 * link: all */
#include "host.h"

#include "../../../examples/hello/isgx.h"

#define RW (PROT_READ | PROT_WRITE)

static struct enclave e;

static int device(int flags)
{
	int fd = open(ISGX_DEVICE, flags | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

static uint64_t map(int fd, uint64_t hint, uint64_t length, int flags)
{
	void *at = mmap((void *)hint, length, PROT_NONE, MAP_SHARED | flags, fd, 0);

	CHECK(at != MAP_FAILED);
	return (uint64_t)at;
}

static void lengths(int fd)
{
	CHECK(mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, 3 * PAGE, RW, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, 1ul << 37, 0, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, 4 * PAGE, RW, MAP_SHARED_VALIDATE, fd, 0) == MAP_FAILED &&
	      errno == EINVAL);
}

/* Each is aligned to its length, even one whose place the program fixed. */
static void places(int fd)
{
	const uint64_t size = 64 * PAGE;
	uint64_t at = map(fd, 0, size, 0), room;

	CHECK(at % size == 0);
	CHECK(munmap((void *)at, size) == 0);
	room = (uint64_t)mmap(NULL, 4 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(room != (uint64_t)MAP_FAILED);
	at = (room + size) & -size;
	CHECK(map(fd, at + PAGE, size, MAP_FIXED) == at + size);
	CHECK(mmap((void *)(at + PAGE), size, PROT_NONE,
		   MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) == MAP_FAILED && errno == EEXIST);
	CHECK(munmap((void *)room, 4 * size) == 0);
	CHECK(map(fd, at + PAGE, size, MAP_FIXED_NOREPLACE) == at + size);
	CHECK(munmap((void *)(at + size), size) == 0);
	at = map(fd, 0, 2 * PAGE - 1, 0);
	CHECK(at % (2 * PAGE) == 0);
	CHECK(munmap((void *)at, 2 * PAGE) == 0);
}

static void modes(void)
{
	int fd = device(O_RDONLY);

	CHECK(mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EACCES);
	CHECK(mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
	close(fd);
}

static int in_maps(uint64_t address, const char *wanted)
{
	char line[4096], start[32];
	FILE *file = fopen("/proc/self/maps", "r");
	int found = 0;

	CHECK(file);
	snprintf(start, sizeof(start), "%lx-", (unsigned long)address);
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, start, strlen(start)))
			found = strstr(line, wanted) != NULL;
	fclose(file);
	return found;
}

static void child_has_none(void)
{
	unsigned char vec;

	CHECK_FAILS(mincore((void *)e.base, PAGE, &vec), ENOMEM);
	CHECK_FAILS(mprotect((void *)e.base, PAGE, RW), ENOMEM);
	/* The place is free, and the device makes enclaves here as well. */
	CHECK(mmap((void *)e.base, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		   -1, 0) == (void *)e.base);
	*(volatile uint8_t *)e.base = 7;
	e = host_load("3");
	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENTRY, 0, 0, 0));
	_exit(5);
}

/* The page's own rights are the processor's matter, and no mapping is refused. */
static void protections(void)
{
	struct op op = { .what = DO_WRITE, .value = 1 };
	struct sgx_enclave_run run;

	CHECK(mprotect((void *)e.base, ENCLAVE_SIZE, RW | PROT_EXEC) == 0);
	op.address = vdso_ask(host_tcs(&e, 0), DO_ENTRY, 0, 0, 0);
	CHECK(vdso_call(host_tcs(&e, 0), EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == PF);
	CHECK(run.exception_error_code == (PF_P | PF_W | PF_U | PF_SGX));
	/* Nothing was ever added there, and nothing comes. */
	op = (struct op){ .what = DO_READ, .address = e.base + SPARE };
	CHECK(vdso_call(host_tcs(&e, 1), EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == PF);
	CHECK(run.exception_error_code == PF_U);
}

static void torn(void)
{
	struct secinfo secinfo = { .flags = SECINFO_REG | SECINFO_R };
	static uint8_t page[PAGE] __attribute__((aligned(PAGE)));
	struct isgx_add_page add = { .src = (uint64_t)page, .secinfo = (uint64_t)&secinfo };
	struct secs secs = { .size = 16 * PAGE, .ssaframesize = 1, .xfrm = 3,
			     .attributes = 4 };
	struct enclave part = { .fd = device(O_RDWR), .size = secs.size };

	isgx_create(&part, &secs);
	add.addr = part.base;
	CHECK(ioctl(part.fd, ISGX_IOC_ADD_PAGE, &add) == 0);
	CHECK(munmap((void *)(part.base + 15 * PAGE), PAGE) == 0);
	add.addr = part.base + PAGE;
	CHECK_FAILS(ioctl(part.fd, ISGX_IOC_ADD_PAGE, &add), EINVAL);
	/* Mapped again it is another mapping. */
	CHECK(munmap((void *)part.base, 15 * PAGE) == 0);
	CHECK(map(part.fd, part.base, secs.size, MAP_FIXED) == part.base);
	CHECK_FAILS(ioctl(part.fd, ISGX_IOC_ADD_PAGE, &add), ENOENT);
	secs.baseaddr = part.base;
	CHECK(ioctl(part.fd, ISGX_IOC_CREATE, &(struct isgx_create){ (uint64_t)&secs }) == 0);
	CHECK(ioctl(part.fd, ISGX_IOC_ADD_PAGE, &add) == 0);
	CHECK(munmap((void *)part.base, secs.size) == 0);
	close(part.fd);
}

int main(void)
{
	int fd = device(O_RDWR), status;

	lengths(fd);
	places(fd);
	modes();
	close(fd);
	e = host_load("3");
	CHECK(in_maps(e.base, ISGX_DEVICE));
	/* The mapping alone keeps the enclave. */
	close(e.fd);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENTRY, 0, 0, 0));
	status = status_of(child_has_none);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
	protections();
	torn();
	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENTRY, 0, 0, 0));
	CHECK_FAILS((long)mremap((void *)e.base, ENCLAVE_SIZE, 2 * ENCLAVE_SIZE, 0), EFAULT);
	CHECK_FAILS(madvise((void *)e.base, PAGE, MADV_DOFORK), EINVAL);
	CHECK(munmap((void *)e.base, ENCLAVE_SIZE) == 0);
	return 0;
}
