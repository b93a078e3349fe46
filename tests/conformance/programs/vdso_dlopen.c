/* link: dynamic
 * The dynamic linker knows the vDSO by name and finds its symbols. */
#include "check.h"
#include <dlfcn.h>
#include <link.h>
#include <sys/auxv.h>
#include <time.h>

static int found;

static int look(struct dl_phdr_info *info, size_t size, void *base)
{
	(void)size;
	if ((void *)info->dlpi_addr == base)
		found = 1;
	return 0;
}

int main(void)
{
	void *vdso = dlopen("linux-vdso.so.1", RTLD_NOW | RTLD_NOLOAD);
	int (*clock)(clockid_t, struct timespec *);
	struct timespec now;

	CHECK(vdso != NULL);
	clock = (int (*)(clockid_t, struct timespec *))dlsym(vdso, "__vdso_clock_gettime");
	CHECK(clock != NULL && clock(CLOCK_MONOTONIC, &now) == 0);
	dl_iterate_phdr(look, (void *)getauxval(AT_SYSINFO_EHDR));
	CHECK(found);
	return 0;
}
