/* SPDX-License-Identifier: Apache-2.0 */
/* What an owner's memory rules are about, one thing at a time, each in a fresh enclave.
 *
 * memory_rules: prints a line for each: its name, and 0 or the errno.  Without rules
 * the first eight are 0 and the last three, which are Linux's own, EACCES.
 */
#include "host.h"

#include <sched.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/personality.h>

#define RX (SECINFO_REG | SECINFO_R | SECINFO_X)
#define UNKNOWN 255
#define CODE (PROT_READ | PROT_EXEC)
#define RWX (PROT_READ | PROT_WRITE | PROT_EXEC)

static const void *sigstruct;	/* what INIT gets in place of its own, if any */

/* In place of libc's, so that the loader's INIT can name another place. */
int ioctl(int fd, unsigned long request, ...)
{
	struct sgx_enclave_init init = { .sigstruct = (uint64_t)sigstruct };
	va_list arguments;
	void *argument;

	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	if (request == SGX_IOC_ENCLAVE_INIT && sigstruct)
		argument = &init;
	if (syscall(SYS_ioctl, fd, request, argument) == 0)
		return 0;
	/* Only what is asked about may fail. */
	_exit(errno);
}

static void *file_pages(const char *name, int prot)
{
	char path[PATH_MAX];
	int fd = open(beside_us(name, path), O_RDONLY | O_CLOEXEC);
	void *at;

	CHECK(fd >= 0);
	at = mmap(NULL, PAGE, prot, MAP_PRIVATE, fd, 0);
	CHECK(at != MAP_FAILED);
	CHECK(close(fd) == 0);
	return at;
}

static struct enclave created(void)
{
	struct secs secs = { .ssaframesize = 1, .attributes = 4, .xfrm = 3 };

	return enclave_create(ENCLAVE_SIZE, &secs);
}

static struct enclave with_page(const void *from, uint64_t flags, bool measure)
{
	struct enclave e = created();

	enclave_add(&e, from, 0, PAGE, flags, measure);
	return e;
}

static void *map(struct enclave e, uint64_t offset, int prot)
{
	return mmap((void *)(e.base + offset), PAGE, prot, MAP_SHARED | MAP_FIXED, e.fd, 0);
}

static int of_a_file(void)
{
	struct enclave e = with_page(file_pages("memory_rules", PROT_READ), RX, true);

	return map(e, 0, CODE) == MAP_FAILED ? errno : 0;
}

static int data(void)
{
	static uint8_t page[PAGE] __attribute__((aligned(PAGE)));
	struct enclave e = with_page(page, SECINFO_REG | SECINFO_R | SECINFO_W, false);

	return map(e, 0, PROT_READ | PROT_WRITE) == MAP_FAILED ? errno : 0;
}

static int unmeasured(void)
{
	with_page(file_pages("memory_rules", PROT_READ), RX, false);
	return 0;
}

static int dirty(void)
{
	with_page(file_pages("memory_rules", PROT_READ), RX | SECINFO_W, true);
	return 0;
}

static int anonymous(void)
{
	with_page(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), RX, true);
	return 0;
}

static int modified(void)
{
	uint8_t *page = file_pages("memory_rules", PROT_READ | PROT_WRITE);

	page[0] ^= 1;
	with_page(page, RX, true);
	return 0;
}

static int writable(void)
{
	struct enclave e = created();

	if (map(e, 0, RWX) == MAP_FAILED)
		return errno;
	CHECK(map(e, 0, PROT_READ | PROT_WRITE) != MAP_FAILED);
	return mprotect((void *)e.base, PAGE, RWX) ? errno : 0;
}

static int signature(void)
{
	host_load("3");
	return 0;
}

static int certificate(void)
{
	sigstruct = file_pages("../enclave/3.sig", CODE);
	return signature();
}

/* These are Linux's, whatever the rules. */

static int beyond_declared(void)
{
	struct enclave e = with_page(file_pages("memory_rules", PROT_READ), RX, true);

	CHECK(map(e, 0, PROT_READ) != MAP_FAILED);
	CHECK_FAILS(mprotect((void *)e.base, PAGE, PROT_READ | PROT_WRITE), EACCES);
	return map(e, 0, PROT_READ | PROT_WRITE) == MAP_FAILED ? errno : 0;
}

static int implied(void)
{
	struct enclave e = created();

	CHECK(personality(READ_IMPLIES_EXEC) != -1);
	return map(e, 0, PROT_READ) == MAP_FAILED ? errno : 0;
}

static void tell(const char *file, const char *format, unsigned int number)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0 && dprintf(fd, format, number) > 0 && close(fd) == 0);
}

static int from_noexec(void)
{
	const unsigned int uid = getuid(), gid = getgid();
	const char *file = "/tmp/page";
	void *page;
	int fd;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return UNKNOWN;
	tell("/proc/self/uid_map", "0 %u 1", uid);
	tell("/proc/self/setgroups", "deny", 0);
	tell("/proc/self/gid_map", "0 %u 1", gid);
	CHECK(mount("none", "/tmp", "tmpfs", MS_NOEXEC, NULL) == 0);
	fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && ftruncate(fd, PAGE) == 0);
	page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(page != MAP_FAILED);
	with_page(page, SECINFO_REG | SECINFO_R, true);
	return 0;
}

static const struct {
	const char *name;
	int (*tried)(void);
} all[] = {
	{ "file", of_a_file },	    { "data", data },		{ "unmeasured", unmeasured },
	{ "dirty", dirty },	    { "anonymous", anonymous }, { "modified", modified },
	{ "writable", writable },   { "signature", signature },
	{ "certificate", certificate }, { "declared", beyond_declared },
	{ "implied", implied },	    { "noexec", from_noexec },
};

int main(void)
{
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int status = -1;
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0)
			_exit(all[i].tried());
		CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
		printf("%s %d\n", all[i].name, WEXITSTATUS(status));
	}
	return 0;
}
