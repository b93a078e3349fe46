/* The ioctls of /dev/isgx: how they find an enclave, and what they say.
 * link: all */
#include "host.h"

#include "../../../examples/hello/isgx.h"

#define SIZE (16 * PAGE)
#define DEBUG_64 6
#define MODE_64 4

static int fd;
static uint8_t page[2 * PAGE] __attribute__((aligned(PAGE)));
static uint8_t *edge;	/* behind it nothing can be read */

static struct secs secs_at(uint64_t base)
{
	return (struct secs){ .size = SIZE, .baseaddr = base, .ssaframesize = 1,
			      .attributes = MODE_64, .xfrm = 3 };
}

static int create(const struct secs *secs)
{
	struct isgx_create create = { .src = (uint64_t)secs };

	errno = 0;
	return ioctl(fd, ISGX_IOC_CREATE, &create);
}

static int add(uint64_t at, const void *from, uint64_t flags, uint16_t mrmask)
{
	struct secinfo secinfo = { .flags = flags };
	struct isgx_add_page params = { .addr = at, .src = (uint64_t)from,
					.secinfo = (uint64_t)&secinfo, .mrmask = mrmask };

	errno = 0;
	return ioctl(fd, ISGX_IOC_ADD_PAGE, &params);
}

static uint64_t reserve(void)
{
	void *at = mmap(NULL, SIZE, PROT_NONE, MAP_SHARED, fd, 0);

	CHECK(at != MAP_FAILED);
	return (uint64_t)at;
}

static void creates(uint64_t base)
{
	struct secs secs = secs_at(base), wrong;

	CHECK_FAILS(ioctl(fd, ISGX_IOC_CREATE, NULL), EFAULT);
	/* What could not be copied of the SECS is a number of bytes, and no error. */
	CHECK(create(NULL) == PAGE);
	CHECK(create((void *)(edge - 100)) == PAGE - 100);
	wrong = secs, wrong.size = SIZE / 2;
	CHECK_FAILS(create(&wrong), EINVAL);
	wrong = secs, wrong.baseaddr += PAGE;
	CHECK_FAILS(create(&wrong), EINVAL);
	wrong = secs, wrong.xfrm = 1;
	CHECK_FAILS(create(&wrong), EINVAL);
	wrong = secs, wrong.ssaframesize = 0;
	CHECK_FAILS(create(&wrong), EINVAL);
	wrong = secs, wrong.attributes = 0;
	CHECK_FAILS(create(&wrong), EINVAL);
	wrong = secs, wrong.baseaddr = base - SIZE;
	CHECK_FAILS(create(&wrong), EINVAL);
	CHECK_FAILS(add(base, page, SECINFO_REG | SECINFO_R, 0), ENOENT);
	CHECK(create(&secs) == 0);
	CHECK_FAILS(create(&secs), EINVAL);
}

static void adds(uint64_t base)
{
	const uint64_t reg = SECINFO_REG | SECINFO_R;
	struct isgx_add_page params = { .addr = base, .src = (uint64_t)page };

	CHECK_FAILS(ioctl(fd, ISGX_IOC_ADD_PAGE, NULL), EFAULT);
	CHECK_FAILS(ioctl(fd, ISGX_IOC_ADD_PAGE, &params), EFAULT);
	CHECK_FAILS(add(base + 1, page, reg, 0), EINVAL);
	CHECK_FAILS(add((uint64_t)page, page, reg, 0), EINVAL);
	CHECK(add(base, NULL, reg, 0) == PAGE);
	CHECK(add(base, edge - 8, reg, 0) == PAGE - 8);
	CHECK_FAILS(add(base, page, SECINFO_REG | SECINFO_W, 0), EINVAL);
	CHECK_FAILS(add(base, page, 0x300, 0), EINVAL);
	CHECK_FAILS(add(base, page, reg | 8, 0), EINVAL);
	/* FSLIMIT of zero. */
	CHECK_FAILS(add(base, page, SECINFO_TCS, 0), EINVAL);
	/* The source may lie anywhere. */
	CHECK(add(base, page + 1, reg, 0xffff) == 0);
	CHECK_FAILS(add(base, page, reg, 0xffff), EEXIST);
	CHECK(add(base + SIZE - PAGE, page, reg | SECINFO_W | SECINFO_X, 0x8001) == 0);
}

static int init(uint64_t at, const void *sig, const void *token)
{
	struct isgx_init params = { .addr = at, .sigstruct = (uint64_t)sig,
				    .einittoken = (uint64_t)token };

	errno = 0;
	return ioctl(fd, ISGX_IOC_INIT, &params);
}

static void inits(uint64_t base, uint64_t unmade)
{
	CHECK_FAILS(ioctl(fd, ISGX_IOC_INIT, NULL), EFAULT);
	CHECK(init(1, NULL, page) == 1808);
	CHECK(init(1, edge - 8, NULL) == 1800);
	CHECK(init(1, page, NULL) == 304);
	CHECK_FAILS(init(base + 8, page, page), EINVAL);
	CHECK_FAILS(init(0, page, page), EINVAL);
	CHECK_FAILS(init(unmade, page, page), ENOENT);
	/* A SIGSTRUCT of zeros: what EINIT says is what the ioctl says. */
	CHECK(init(base, page, page) == 1);
	CHECK(init(base + SIZE - PAGE, page, page) == 1);
	/* After that it grows on. */
	CHECK(add(base + PAGE, page, SECINFO_REG | SECINFO_R, 0) == 0);
}

static void others(void)
{
	/* Of the other device, and of a processor with SGX2. */
	CHECK_FAILS(ioctl(fd, SGX_IOC_ENCLAVE_ADD_PAGES, page), ENOTTY);
	CHECK_FAILS(ioctl(fd, SGX_IOC_ENCLAVE_INIT, page), ENOTTY);
	CHECK_FAILS(ioctl(fd, 0x4018a409, page), ENOSYS);
	CHECK_FAILS(ioctl(fd, 0x4010a40b, page), ENOSYS);
	CHECK_FAILS(open("/dev/sgx_enclave", O_RDWR), ENOENT);
	CHECK_FAILS(open("/dev/sgx_provision", O_RDWR), ENOENT);
}

/* One open file, two enclaves; and one that works is there already. */
static void working(void)
{
	struct enclave first = host_load("3"), second = host_load("3");
	struct isgx_init again = { .addr = first.base, .sigstruct = (uint64_t)page,
				   .einittoken = (uint64_t)page };

	CHECK(first.base != second.base);
	CHECK(vdso_ask(host_tcs(&first, 0), DO_ENTRY, 0, 0, 0) - first.base ==
	      vdso_ask(host_tcs(&second, 0), DO_ENTRY, 0, 0, 0) - second.base);
	/* By any descriptor of the device: the address tells which. */
	CHECK(ioctl(fd, ISGX_IOC_INIT, &again) == 0);
	CHECK_FAILS(add(first.base + SPARE, page, SECINFO_REG | SECINFO_R, 0), EINVAL);
}

int main(void)
{
	uint64_t base, other;

	fd = open(ISGX_DEVICE, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	edge = (uint8_t *)mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + PAGE;
	CHECK(munmap(edge, PAGE) == 0);
	base = reserve();
	other = reserve();
	creates(base);
	adds(base);
	inits(base, other);
	others();
	working();
	return 0;
}
