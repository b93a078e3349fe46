/* SPDX-License-Identifier: Apache-2.0 */
/* /dev/sgx_vepc as the monitor of a virtual machine has it, which has not run yet: its
 * pages are EPC that nobody owns, and so abort pages; they are nobody else's meanwhile.
 */
#include "host.h"

#include <poll.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define VEPC "/dev/sgx_vepc"
#define REMOVE_ALL 0xa404 /* SGX_IOC_VEPC_REMOVE_ALL */
#define RW (PROT_READ | PROT_WRITE)

static sigjmp_buf out;
static siginfo_t got;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)context;
	got = *info;
	siglongjmp(out, 1);
}

/* The signal that an access ends in, 0 for none. */
static int touch(volatile uint8_t *at, int writes)
{
	got.si_signo = 0;
	if (sigsetjmp(out, 1) == 0) {
		if (writes)
			*at = 1;
		else
			CHECK(*at == 0xff);
	}
	return got.si_signo;
}

static int is_fault(int signo, int code, const volatile uint8_t *at)
{
	return got.si_signo == signo && got.si_code == code && got.si_addr == at;
}

static int open_vepc(void)
{
	int fd = open(VEPC, O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

static uint8_t *map(int fd, uint64_t pages, uint64_t offset)
{
	uint8_t *at = mmap(NULL, pages * PAGE, RW, MAP_SHARED, fd, (off_t)(offset * PAGE));

	CHECK(at != MAP_FAILED);
	return at;
}

static void the_node(void)
{
	unsigned int number, minor = ~0u;
	FILE *misc = fopen("/proc/misc", "r");
	struct stat st;
	char name[64];

	CHECK(misc);
	while (fscanf(misc, "%u %63s", &number, name) == 2)
		if (!strcmp(name, "sgx_vepc"))
			minor = number;
	fclose(misc);
	CHECK(stat(VEPC, &st) == 0 && S_ISCHR(st.st_mode));
	CHECK(st.st_rdev == makedev(10, minor) && (st.st_mode & 0117) == 0);
}

static void mappings(void)
{
	int fd = open_vepc(), reads = open(VEPC, O_RDONLY);
	uint8_t *at;

	CHECK(mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, 0, RW, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, PAGE, RW, MAP_SHARED, fd, 1) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, PAGE, RW, MAP_SHARED, fd, -(off_t)PAGE) == MAP_FAILED &&
	      errno == EOVERFLOW);
	CHECK(mmap(NULL, PAGE, RW, MAP_SHARED, reads, 0) == MAP_FAILED && errno == EACCES);
	at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE, reads, 0);
	CHECK(at != MAP_FAILED && touch(at, 0) == 0);
	CHECK_FAILS(mprotect(at, PAGE, RW), EACCES);
	CHECK(close(fd) == 0 && close(reads) == 0 && munmap(at, PAGE) == 0);
}

/* Reads are ones and writes are lost, from the program and from the kernel. */
static void abort_pages(void)
{
	int fd = open_vepc(), pipes[2];
	uint8_t *at = map(fd, 16, 3), *far = map(fd, 4, 1ul << 30), bytes[64], ones[64];

	CHECK(close(fd) == 0);
	memset(ones, 0xff, sizeof(ones));
	CHECK(touch(at, 0) == 0 && touch(at + 5 * PAGE + 7, 1) == 0);
	CHECK(touch(at + 5 * PAGE + 7, 0) == 0 && touch(far + 4 * PAGE - 1, 0) == 0);
	memset(at + PAGE - 32, 0x55, 64);
	__asm__ volatile("" : : : "memory"); /* what was written is not what is read */
	memcpy(bytes, at + PAGE - 32, sizeof(bytes));
	CHECK(!memcmp(bytes, ones, sizeof(bytes)));
	CHECK(pipe(pipes) == 0);
	CHECK(write(pipes[1], at + 2 * PAGE, 64) == 64 && read(pipes[0], bytes, 64) == 64);
	CHECK(!memcmp(bytes, ones, sizeof(bytes)));
	CHECK(write(pipes[1], "lost", 4) == 4 && read(pipes[0], at + 3 * PAGE, 4) == 4);
	CHECK(touch(at + 3 * PAGE, 0) == 0);
	CHECK(munmap(at + 4 * PAGE, PAGE) == 0);
	CHECK(touch(at + 4 * PAGE, 0) && is_fault(SIGSEGV, SEGV_MAPERR, at + 4 * PAGE));
	CHECK(mprotect(at, PAGE, PROT_READ) == 0 && touch(at, 0) == 0);
	CHECK(touch(at, 1) && is_fault(SIGSEGV, SEGV_ACCERR, at));
	CHECK(mprotect(at, PAGE, PROT_NONE) == 0 && touch(at, 0) == SIGSEGV);
	CHECK(munmap(at, 16 * PAGE) == 0 && munmap(far, 4 * PAGE) == 0);
}

static uint8_t *inherited;

static void touch_inherited(void)
{
	CHECK(touch(inherited, 0) && is_fault(SIGSEGV, SEGV_MAPERR, inherited));
}

static void forks(void)
{
	int fd = open_vepc();

	inherited = map(fd, 2, 0);
	CHECK(touch(inherited, 0) == 0);
	CHECK(status_of(touch_inherited) == 0);
	CHECK(touch(inherited, 0) == 0);
	CHECK(munmap(inherited, 2 * PAGE) == 0 && close(fd) == 0);
}

static void ioctls(void)
{
	int fd = open_vepc();
	struct pollfd ready = { .fd = fd, .events = POLLIN | POLLOUT };
	uint8_t *at = map(fd, 8, 0);

	CHECK(ioctl(fd, REMOVE_ALL, 0) == 0);
	for (int i = 0; i < 8; i++)
		CHECK(touch(at + i * PAGE, i & 1) == 0);
	CHECK(ioctl(fd, REMOVE_ALL, 0) == 0 && touch(at, 0) == 0);
	CHECK_FAILS(ioctl(fd, REMOVE_ALL, 1), EINVAL);
	CHECK_FAILS(ioctl(fd, 0x4008a400, 0), ENOTTY); /* SGX_IOC_ENCLAVE_CREATE */
	CHECK_FAILS(ioctl(fd, 0x5401, 0), ENOTTY);     /* TCGETS */
	CHECK(poll(&ready, 1, 0) == 1 && ready.revents == (POLLIN | POLLOUT));
	CHECK(munmap(at, 8 * PAGE) == 0 && close(fd) == 0);
}

static uint64_t epc_pages(void)
{
	FILE *file = fopen("/sys/devices/system/node/node0/x86/sgx_total_bytes", "r");
	unsigned long bytes;

	CHECK(file && fscanf(file, "%lu", &bytes) == 1);
	fclose(file);
	return bytes / PAGE;
}

/* Touch pages until there is no EPC left; the first that is not there. */
static uint64_t fill(uint8_t *at, uint64_t pages)
{
	uint64_t i = 0;

	while (i < pages && touch(at + i * PAGE, 0) == 0)
		i++;
	CHECK(i < pages && is_fault(SIGBUS, BUS_ADRERR, at + i * PAGE));
	return i;
}

/* What a guest has nobody else has, and nothing takes it away until all is closed. */
static void takes_it_all(void)
{
	uint64_t pages = epc_pages() + 1, had;
	struct enclave e = host_load("3");
	int fd = open_vepc(), other = open_vepc();
	uint8_t *at = map(fd, pages, 0), *more = map(other, 1, 0);

	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENTRY, 0, 0, 0));
	had = fill(at, pages);
	CHECK(had > pages / 2);
	CHECK(touch(more, 0) && is_fault(SIGBUS, BUS_ADRERR, more));
	CHECK(ioctl(fd, REMOVE_ALL, 0) == 0 && touch(more, 0) == SIGBUS);
	CHECK(close(fd) == 0 && touch(more, 0) == SIGBUS);
	CHECK(munmap(at, pages * PAGE) == 0);
	CHECK(touch(more, 0) == 0);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENTRY, 0, 0, 0));
}

int main(void)
{
	catch_signal(SIGSEGV, on_fault, 0);
	catch_signal(SIGBUS, on_fault, 0);
	the_node();
	mappings();
	abort_pages();
	forks();
	ioctls();
	takes_it_all();
	return 0;
}
