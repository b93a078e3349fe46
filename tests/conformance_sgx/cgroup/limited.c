/* An enclave in a cgroup whose limit is lowered under it: nothing happens to what is
 * there; new pages are ENOMEM or SIGBUS; when the limit goes up again, all goes on.
 *
 * The argument is the directory of a cgroup that this process is in and may write.
 */
#include "host.h"

#include <dirent.h>

#define RW (SECINFO_R | SECINFO_W)
#define FRESH (SECINFO_REG | RW | SECINFO_PENDING)
#define PAGES 40ul

static const char *directory;
static struct enclave e;
static volatile int bus_errors;

static uint64_t page(uint64_t n)
{
	return e.base + SPARE + n * PAGE;
}

static int open_file(const char *name, int flags)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return open(path, flags | O_CLOEXEC);
}

/* The number on the line of sgx_epc; all ones if it is "max". */
static uint64_t number_in(const char *name)
{
	char text[4096] = { 0 }, *at;
	int fd = open_file(name, O_RDONLY);

	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && close(fd) == 0);
	at = strstr(text, "sgx_epc");
	CHECK(at);
	at = strchr(at, ' ') + 1;
	return strncmp(at, "max\n", 4) ? strtoull(at, NULL, 10) : ~0ull;
}

static void limit(const char *value)
{
	int fd = open_file("misc.max", O_WRONLY);
	char line[64];
	int length = snprintf(line, sizeof(line), "sgx_epc %s\n", value);

	CHECK(fd >= 0 && write(fd, line, (size_t)length) == length && close(fd) == 0);
}

static void what_is_no_limit(void)
{
	int fd = open_file("misc.max", O_WRONLY);
	int current = open_file("misc.current", O_RDONLY);

	CHECK(fd >= 0 && current >= 0);
	CHECK_FAILS(write(fd, "sgx_epc 1M\n", 11), EINVAL);
	CHECK_FAILS(write(fd, "sgx_epc\n", 8), EINVAL);
	CHECK_FAILS(write(fd, "no_such 5\n", 10), EINVAL);
	CHECK_FAILS(write(fd, "sgx_epc 18446744073709551616\n", 29), ERANGE);
	CHECK_FAILS(write(current, "sgx_epc 5\n", 10), EBADF);
	CHECK(number_in("misc.max") == ~0ull);
	CHECK(close(fd) == 0 && close(current) == 0);
	CHECK_FAILS(open_file("misc.capacity", O_RDONLY), ENOENT);
}

/* The directory shows its files to who reads it. */
static void files_are_listed(void)
{
	DIR *listing = opendir(directory);
	struct dirent *entry;
	int found = 0;

	CHECK(listing);
	while ((entry = readdir(listing)))
		found += !strcmp(entry->d_name, "misc.max") ||
			 !strcmp(entry->d_name, "misc.events.local");
	CHECK(found == 2 && closedir(listing) == 0);
}

static void make_pages(uint64_t first, uint64_t end)
{
	for (uint64_t n = first; n < end; n++) {
		struct op op = { .what = DO_ENCLU, .address = page(n), .value = EACCEPT,
				 .size = FRESH };

		vdso_do(host_tcs(&e, 0), &op);
		CHECK(op.result == 0);
		vdso_ask(host_tcs(&e, 0), DO_STORE, page(n), n * 77, 0);
	}
}

static void on_bus(int signo, siginfo_t *info, void *context)
{
	(void)context;
	CHECK(signo == SIGBUS && info->si_code == BUS_ADRERR);
	CHECK((uint64_t)info->si_addr == page(PAGES + 1));
	bus_errors++;
	/* Give the access something to end on. */
	CHECK(mmap((void *)page(PAGES + 1), PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
}

/* No page can come: to the enclave, to the host, to another enclave. */
static void nothing_fits(void)
{
	uint64_t secs[512] __attribute__((aligned(4096))) = { 0x10000, 0x7f0000000000 };
	struct sgx_enclave_create create = { .src = (uint64_t)secs };
	struct op op = { .what = DO_READ, .address = page(PAGES) };
	struct sgx_enclave_run run;
	int fd = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);

	CHECK(vdso_call(host_tcs(&e, 1), EENTER, &op, &run) == 0);
	CHECK(run.function == ERESUME && run.exception_vector == PF);
	CHECK(run.exception_addr == page(PAGES));
	catch_signal(SIGBUS, on_bus, 0);
	(void)*(volatile uint8_t *)page(PAGES + 1);
	CHECK(bus_errors == 1);
	((uint32_t *)secs)[4] = 1;	/* SSAFRAMESIZE */
	secs[6] = 4;			/* MODE64BIT */
	secs[7] = 3;
	CHECK(fd >= 0);
	CHECK_FAILS(ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &create), ENOMEM);
	limit("max");
	CHECK(ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &create) == 0);
	CHECK(close(fd) == 0);
}

int main(int argc, char **argv)
{
	uint64_t before;

	CHECK(argc == 2);
	directory = argv[1];
	files_are_listed();
	what_is_no_limit();
	e = host_load("3");
	CHECK(mmap((void *)page(0), (PAGES + 2) * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) == (void *)page(0));
	make_pages(0, PAGES);
	before = number_in("misc.current");
	CHECK(before >= PAGES * PAGE && number_in("misc.peak") >= before);
	CHECK(number_in("misc.events") == 0);
	limit("4096");
	CHECK(number_in("misc.current") == before);
	for (uint64_t n = 0; n < PAGES; n++)
		CHECK(vdso_ask(host_tcs(&e, 0), DO_LOAD, page(n), 0, 0) == n * 77);
	nothing_fits();
	CHECK(number_in("misc.events") > 0);
	CHECK(number_in("misc.events") == number_in("misc.events.local"));
	CHECK(number_in("misc.current") < before);
	make_pages(PAGES, PAGES + 1);
	for (uint64_t n = 0; n < PAGES; n++)
		CHECK(vdso_ask(host_tcs(&e, 0), DO_LOAD, page(n), 0, 0) == n * 77);
	return 0;
}
