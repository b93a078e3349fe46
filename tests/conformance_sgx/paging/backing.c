/* An enclave whose evicted pages go to a file of the program's: backing WHAT
 *
 * Meant for an EPC of 1 MiB, which does not hold the enclave.  The program looks after
 * its file, or does to it what WHAT says; then pages are lost, to that enclave alone.
 */
#include "host.h"

#include <stdarg.h>
#include <sys/stat.h>

#define RW (SECINFO_R | SECINFO_W)
#define FRESH (SECINFO_REG | RW | SECINFO_PENDING)
#define PAGES 480ul
#define WORD 0x5e1f5e1f00000000ull
#define PCMD 128ul
#define ENOUGH 20

struct create_backed {
	uint64_t src, backing_fd;
};

static int backing;

static long do_ioctl(int fd, unsigned long request, void *argument)
{
	return syscall(SYS_ioctl, fd, request, argument);
}

/* Stands before libc's, so that what loads the enclave names the file. */
int ioctl(int fd, unsigned long request, ...)
{
	struct create_backed backed;
	va_list rest;
	void *argument;

	va_start(rest, request);
	argument = va_arg(rest, void *);
	va_end(rest);
	if (request != SGX_IOC_ENCLAVE_CREATE || !backing)
		return (int)do_ioctl(fd, request, argument);
	backed.src = *(uint64_t *)argument;
	backed.backing_fd = (uint64_t)backing;
	return (int)do_ioctl(fd, _IOW(0xa4, 0, struct create_backed), &backed);
}

static uint64_t page(const struct enclave *e, uint64_t n)
{
	return e->base + SPARE + n * PAGE;
}

static void map(const struct enclave *e)
{
	CHECK(mmap((void *)page(e, 0), PAGES * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e->fd, 0) == (void *)page(e, 0));
}

/* Whether the enclave can still be used so: the other end is a page fault, and a frame
 * that nobody resumes. */
static int works(const struct enclave *e, struct op *op)
{
	static unsigned int faults;
	struct sgx_enclave_run run;

	CHECK(vdso_call(host_tcs(e, faults / FRAMES), EENTER, op, &run) == 0);
	if (run.function == EEXIT)
		return 1;
	CHECK(run.exception_vector == PF);
	faults++;
	return 0;
}

static int accepts(const struct enclave *e, uint64_t n)
{
	struct op op = { .what = DO_ENCLU, .address = page(e, n), .value = EACCEPT,
			 .size = FRESH };

	return works(e, &op) && op.result == 0;
}

static void store(const struct enclave *e)
{
	for (uint64_t n = 0; n < PAGES; n++)
		vdso_ask(host_tcs(e, 0), DO_STORE, page(e, n), WORD | n, 0);
}

/* How many pages are lost, up to ENOUGH; the others have what they had. */
static unsigned int lost(const struct enclave *e)
{
	unsigned int count = 0;

	for (uint64_t n = 0; n < PAGES && count < ENOUGH; n++) {
		struct op op = { .what = DO_LOAD, .address = page(e, n) };

		if (works(e, &op))
			CHECK(op.result == (WORD | n));
		else
			count++;
	}
	return count;
}

static struct enclave load(void)
{
	struct enclave e = host_load("3");

	map(&e);
	for (uint64_t n = 0; n < PAGES; n++)
		CHECK(accepts(&e, n));
	store(&e);
	return e;
}

static uint64_t image(uint64_t n)
{
	return SPARE + n * PAGE;
}

static uint64_t pcmd(uint64_t n)
{
	return ENCLAVE_SIZE + PAGE + (SPARE / PAGE + n) * PCMD;
}

static void get(uint64_t at, void *to, size_t size)
{
	memset(to, 0, size);
	CHECK(pread(backing, to, size, (off_t)at) >= 0);
}

static void put(uint64_t at, const void *from, size_t size)
{
	CHECK(pwrite(backing, from, size, (off_t)at) == (ssize_t)size);
}

static void flip(void)
{
	for (uint64_t n = 0; n < PAGES; n++) {
		uint8_t byte;

		get(image(n) + n, &byte, 1);
		byte ^= 1;
		put(image(n) + n, &byte, 1);
	}
}

static void exchange(void)
{
	static uint8_t one[PAGE], two[PAGE];

	for (uint64_t n = 0; n < PAGES; n += 2) {
		get(image(n), one, PAGE), get(image(n + 1), two, PAGE);
		put(image(n), two, PAGE), put(image(n + 1), one, PAGE);
		get(pcmd(n), one, PCMD), get(pcmd(n + 1), two, PCMD);
		put(pcmd(n), two, PCMD), put(pcmd(n + 1), one, PCMD);
	}
}

static void cut(void)
{
	CHECK(ftruncate(backing, 0) == 0);
}

static uint8_t *old;
static size_t old_size;

static void keep(void)
{
	struct stat status;

	CHECK(fstat(backing, &status) == 0);
	old_size = (size_t)status.st_size;
	old = malloc(old_size);
	CHECK(old);
	get(0, old, old_size);
}

static void put_old(void)
{
	put(0, old, old_size);
}

/* Nothing of a page is in the file as the enclave knows it. */
static void check_secret(void)
{
	keep();
	CHECK(old_size > SPARE);
	for (size_t at = 0; at + 8 <= old_size; at += 8)
		CHECK((*(uint64_t *)(old + at) & 0xffffffff00000000) != WORD);
}

static int no_backing(int fd)
{
	struct create_backed backed = { .src = 0, .backing_fd = (uint64_t)fd };
	int device = open("/dev/sgx_enclave", O_RDWR);

	CHECK(device >= 0);
	CHECK_FAILS(do_ioctl(device, _IOW(0xa4, 0, struct create_backed), &backed), EINVAL);
	CHECK(!close(device));
	return fd;
}

static int sealed(int seals)
{
	int fd = memfd_create("backing", MFD_ALLOW_SEALING);

	CHECK(fd >= 0 && !fcntl(fd, F_ADD_SEALS, seals));
	return fd;
}

static void refused(void)
{
	int pipes[2], closed = dup(0);
	char self[] = "/proc/self/exe";

	CHECK(!pipe(pipes) && !close(closed));
	no_backing(closed);
	no_backing(-1);
	close(no_backing(pipes[0]));
	close(no_backing(pipes[1]));
	close(no_backing(open("/tmp", O_RDONLY)));
	close(no_backing(open("/tmp", O_RDWR | O_TMPFILE | O_APPEND, 0600)));
	close(no_backing(open(self, O_RDONLY)));
	close(no_backing(open(self, O_PATH)));
	close(no_backing(open("/dev/null", O_RDWR)));
	close(no_backing(open("/dev/sgx_enclave", O_RDWR)));
	close(no_backing(sealed(F_SEAL_WRITE)));
	close(no_backing(sealed(F_SEAL_GROW)));
	close(no_backing(sealed(F_SEAL_FUTURE_WRITE)));
}

/* Its file takes no more: what is in the EPC stays there, and no more comes, nor back. */
static void stuck(void)
{
	struct enclave e = host_load("3");
	unsigned int count = 0;

	map(&e);
	CHECK(!fcntl(backing, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_WRITE));
	while (count < PAGES && accepts(&e, count))
		count++;
	CHECK(count > 10 && count < PAGES);
	/* With it goes all that it has. */
	CHECK(!munmap((void *)e.base, e.size) && !close(e.fd) && !close(backing));
	backing = 0;
	e = load();
	CHECK(lost(&e) == 0);
}

static const struct {
	const char *what;
	void (*spoil)(void);
} spoils[] = { { "flip", flip }, { "exchange", exchange }, { "cut", cut },
	       { "replay", put_old } };

static void spoil(void (*how)(void))
{
	struct enclave e = load(), other;

	keep();
	/* Each page has been out once more, or never was. */
	store(&e);
	CHECK(lost(&e) == 0);
	usleep(100000);
	how();
	CHECK(lost(&e) == ENOUGH);
	backing = 0;
	other = load();
	CHECK(lost(&other) == 0);
	CHECK(lost(&e) == ENOUGH);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	backing = memfd_create("backing", MFD_ALLOW_SEALING);
	CHECK(backing > 0);
	for (size_t i = 0; i < sizeof(spoils) / sizeof(*spoils); i++)
		if (!strcmp(argv[1], spoils[i].what))
			spoil(spoils[i].spoil);
	if (!strcmp(argv[1], "refused"))
		refused();
	if (!strcmp(argv[1], "stuck"))
		stuck();
	if (!strcmp(argv[1], "whole")) {
		struct enclave e = load();

		CHECK(lost(&e) == 0);
		usleep(100000);
		check_secret();
	}
	return 0;
}
