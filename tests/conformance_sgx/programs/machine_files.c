/* SPDX-License-Identifier: Apache-2.0 */
/* What procfs and sysfs say of a machine with SGX: the processor, the EPC, mappings.
 * link: all
 */
#include "host.h"

#include <cpuid.h>
#include <dirent.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>

static char text[1 << 16];

static const char *read_all(const char *path)
{
	int fd = open(path, O_RDONLY);
	size_t have = 0;
	ssize_t got;

	CHECK(fd >= 0);
	while ((got = read(fd, text + have, sizeof(text) - 1 - have)) > 0)
		have += (size_t)got;
	CHECK(got == 0 && have > 0);
	text[have] = 0;
	close(fd);
	return text;
}

static int has_word(const char *line, const char *word)
{
	size_t size = strlen(word);
	const char *end = strchr(line, '\n');

	for (const char *at = line; (at = strstr(at, word)) && at < end; at += size)
		if (at[-1] == ' ' && (at[size] == ' ' || at[size] == '\n'))
			return 1;
	return 0;
}

static void check_cpuinfo(void)
{
	unsigned int a, b, c, d, family, model;
	const char *flags, *info = read_all("/proc/cpuinfo");
	char first[64], again[64];
	int fd;

	CHECK(!strncmp(info, "processor", 9));
	CHECK(strstr(info, ": GenuineIntel\n"));
	flags = strstr(info, "\nflags");
	CHECK(flags && has_word(flags + 1, "sgx") && has_word(flags + 1, "sgx_lc"));
	CHECK(has_word(flags + 1, "fpu") && has_word(flags + 1, "sse2"));
	__cpuid(1, a, b, c, d);
	CHECK(sscanf(strstr(info, "cpu family"), "cpu family : %u", &family) == 1);
	CHECK(sscanf(strstr(info, "model\t"), "model : %u", &model) == 1);
	CHECK(family == (a >> 8 & 15) && model == ((a >> 4 & 15) | (a >> 12 & 0xf0)));

	fd = open("/proc/../proc/cpuinfo", O_RDONLY);
	CHECK(read(fd, first, sizeof(first)) == sizeof(first));
	CHECK(lseek(fd, 0, SEEK_SET) == 0);
	CHECK(read(fd, again, sizeof(again)) == sizeof(again));
	CHECK(!memcmp(first, again, sizeof(first)));
	CHECK(pread(fd, again, 8, 1) == 8 && !memcmp(first + 1, again, 8));
	CHECK_FAILS(write(fd, "x", 1), EBADF);
	close(fd);
}

static void check_epc(void)
{
	static const char file[] =
		"/sys/devices/system/node/node0/x86/sgx_total_bytes";
	unsigned int a, b, c, d;
	uint64_t total = 0;
	struct stat st;
	int seen = 0;
	struct dirent *entry;
	DIR *dir;

	if (access("/sys/devices/system/node/node0", F_OK))
		return;		/* a kernel without NUMA */
	for (unsigned int n = 2;; n++) {
		__cpuid_count(0x12, n, a, b, c, d);
		if (!(a & 15))
			break;
		total += (uint64_t)(d & 0xfffff) << 32 | (c & 0xfffff000);
	}
	CHECK(access("/sys/devices/system/node/node1/x86", F_OK) == 0 ||
	      strtoull(read_all(file), NULL, 10) == total);
	CHECK(stat(file, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 4096);
	CHECK((st.st_mode & 0777) == 0444 && access(file, R_OK) == 0);
	dir = opendir("/sys/devices/system/node/node0/x86");
	CHECK(dir);
	while ((entry = readdir(dir)))
		seen += !strcmp(entry->d_name, "sgx_total_bytes");
	CHECK(seen == 1);
	closedir(dir);
	dir = opendir("/sys/devices/system/node/node0");
	while ((entry = readdir(dir)))
		seen += !strcmp(entry->d_name, "x86");
	CHECK(seen == 2);
	closedir(dir);
}

static void check_class(void)
{
	unsigned int major, minor;
	struct stat st;
	char link[128];

	CHECK(sscanf(read_all("/sys/class/misc/sgx_enclave/dev"), "%u:%u", &major,
		     &minor) == 2);
	CHECK(stat("/dev/sgx_enclave", &st) == 0);
	CHECK(major == 10 && st.st_rdev == (major << 8 | minor));
	CHECK(strstr(read_all("/sys/class/misc/sgx_enclave/uevent"),
		     "DEVNAME=sgx_enclave\n"));
	CHECK(readlink("/sys/class/misc/sgx_enclave", link, sizeof(link)) > 0);
}

static void check_maps(void)
{
	struct enclave e = host_load("3");
	unsigned long start, end, vdso = 0;
	char *line, *found = NULL;
	char perms[8];

	read_all("/proc/self/maps");
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, perms) != 3)
			continue;
		if (start <= e.base && e.base < end)
			found = line;
		if (strstr(line, " [vdso]"))
			vdso = start;
	}
	CHECK(found && strstr(found, " /dev/sgx_enclave"));
	CHECK(strchr(found, 's'));
	CHECK(vdso == getauxval(AT_SYSINFO_EHDR));
}

/* A process of any user's may read of itself where its vDSO is. */
static void check_vector(void)
{
	const uid_t other = 65534;
	struct stat st;

	if (geteuid() == 0) {
		CHECK(setresgid(other, other, other) == 0);
		CHECK(setresuid(other, other, other) == 0);
		CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
	}
	CHECK(stat("/proc/self/auxv", &st) == 0);
	CHECK(st.st_uid == geteuid() && st.st_gid == getegid());
	CHECK(open("/proc/self/auxv", O_RDONLY) >= 0);
}

int main(void)
{
	CHECK(status_of(check_vector) == 0);
	check_cpuinfo();
	check_epc();
	check_class();
	check_maps();
	return 0;
}
