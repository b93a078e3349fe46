/* Memory that is locked, synchronised or remapped where it is an enclave's: Linux leaves a
 * device's mappings out, and fills no page of them.
 *
 * link: all
 */
#include "host.h"

#include <sys/syscall.h>

#define WORD 0x1122334455667788ull
#define LARGE (256ul << 20)
#define SMALL (64ul << 20)

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

static struct enclave e;
static uint64_t mine;

static void still_there(void)
{
	CHECK(vdso_ask(host_tcs(&e, 0), DO_LOAD, mine, 0, 0) == WORD);
}

static long resident(const char *what)
{
	FILE *status = fopen("/proc/self/status", "r");
	char line[256];
	long kib = -1;

	CHECK(status);
	while (fgets(line, sizeof(line), status))
		if (!strncmp(line, what, strlen(what)))
			kib = atol(line + strlen(what));
	CHECK(fclose(status) == 0 && kib >= 0);
	return kib;
}

/* A process whose limit is small cannot lock all it has, here as there. */
static void lock_all(int flags)
{
	CHECK(mlockall(flags) == 0 || errno == ENOMEM || errno == EPERM);
}

static void ranges(void)
{
	CHECK(mlock((void *)e.base, PAGE) == 0);
	CHECK(mlock((void *)mine, 8) == 0);
	CHECK(mlock((void *)(host_tcs(&e, 3) + 1), 2 * PAGE) == 0);
	still_there();
	CHECK(munlock((void *)mine, PAGE) == 0);
	CHECK(syscall(SYS_mlock2, mine, PAGE, 1) == 0);
	CHECK_FAILS(syscall(SYS_mlock2, mine, PAGE, 2), EINVAL);
	CHECK(munlock((void *)e.base, PAGE) == 0 && munlock((void *)mine, PAGE) == 0);
	still_there();
}

static void others(void)
{
	CHECK_FAILS(msync((void *)mine, PAGE, MS_SYNC), EINVAL);
	CHECK(msync((void *)mine, PAGE, MS_ASYNC) == 0);
	CHECK(syscall(SYS_remap_file_pages, mine, PAGE, 0, 0, 0) == 0);
	CHECK_FAILS(syscall(SYS_remap_file_pages, mine, PAGE, PROT_READ, 0, 0), EINVAL);
	CHECK_FAILS(madvise((void *)mine, PAGE, 22 /* MADV_POPULATE_READ */), EINVAL);
	still_there();
}

/* A range of addresses is not memory. */
static void fills_nothing(void)
{
	struct secs secs = { .attributes = 4, .xfrm = 3, .ssaframesize = 1 };
	struct enclave large;
	void *at;

	lock_all(MCL_FUTURE);
	large = enclave_create(LARGE, &secs);
	at = mmap((void *)large.base, LARGE, PROT_NONE, MAP_SHARED | MAP_FIXED, large.fd, 0);
	if (at == MAP_FAILED) /* the limit again */
		CHECK(errno == EAGAIN);
	lock_all(MCL_CURRENT);
	lock_all(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
	CHECK(resident("VmRSS:") < (long)(SMALL >> 10));
	CHECK_FAILS(mlockall(0), EINVAL);
	CHECK_FAILS(mlockall(MCL_ONFAULT), EINVAL);
	CHECK(munlockall() == 0);
}

int main(void)
{
	lock_all(MCL_FUTURE); /* before the process knows of the device */
	e = host_load("3");
	mine = vdso_ask(host_tcs(&e, 0), DO_AREA, 0, 0, 0) + 0x1000;
	vdso_ask(host_tcs(&e, 0), DO_STORE, mine, WORD, 0);
	ranges();
	others();
	fills_nothing();
	still_there();
	return 0;
}
