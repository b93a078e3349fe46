/* The auxiliary vector points at a vDSO with a dynamic section and a working clock. */
#include "check.h"
#include <elf.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <time.h>

static const Elf64_Sym *symbols;
static const char *strings;
static const Elf64_Word *hash;

static void read_dynamic(const char *base, const Elf64_Phdr *header)
{
	const Elf64_Dyn *entry = (const void *)(base + header->p_offset);

	for (; entry->d_tag != DT_NULL; entry++) {
		const void *at = base + entry->d_un.d_ptr;

		if (entry->d_tag == DT_SYMTAB)
			symbols = at;
		else if (entry->d_tag == DT_STRTAB)
			strings = at;
		else if (entry->d_tag == DT_HASH)
			hash = at;
	}
}

/* What reads the vector from /proc finds the same one. */
static void check_file(void)
{
	Elf64_auxv_t entry;
	int found = 0, fd = open("/proc/self/auxv", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	while (read(fd, &entry, sizeof(entry)) == sizeof(entry) &&
	       entry.a_type != AT_NULL) {
		if (entry.a_type == AT_SYSINFO_EHDR || entry.a_type == AT_RANDOM ||
		    entry.a_type == AT_ENTRY) {
			CHECK(getauxval(entry.a_type) == entry.a_un.a_val);
			found++;
		}
	}
	CHECK(found == 3 && close(fd) == 0);
}

int main(void)
{
	const char *base = (const char *)getauxval(AT_SYSINFO_EHDR);
	const Elf64_Ehdr *elf = (const void *)base;
	const Elf64_Phdr *header;
	int (*clock_from_vdso)(clockid_t, struct timespec *) = NULL;
	struct timespec before, inside, after;

	CHECK(base != NULL && memcmp(base, ELFMAG, SELFMAG) == 0);
	CHECK(((uintptr_t)base & 4095) == 0);
	header = (const void *)(base + elf->e_phoff);
	for (int i = 0; i < elf->e_phnum; i++)
		if (header[i].p_type == PT_DYNAMIC)
			read_dynamic(base, &header[i]);
	CHECK(symbols && strings);
	/* Some kernels have no DT_HASH in their own vDSO; then there is no count. */
	for (Elf64_Word i = 0; hash && i < hash[1]; i++)
		if (!strcmp(strings + symbols[i].st_name, "__vdso_clock_gettime"))
			clock_from_vdso = (void *)(base + symbols[i].st_value);
	if (clock_from_vdso) {
		CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &before) == 0);
		CHECK(clock_from_vdso(CLOCK_MONOTONIC, &inside) == 0);
		CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &after) == 0);
		CHECK(before.tv_sec <= inside.tv_sec && inside.tv_sec <= after.tv_sec);
	} else {
		CHECK(hash == NULL);
	}
	CHECK(getauxval(AT_PAGESZ) == 4096);
	CHECK(getauxval(AT_PHNUM) > 0 && getauxval(AT_PHDR) != 0);
	CHECK(getauxval(AT_RANDOM) != 0 && getauxval(AT_ENTRY) != 0);
	check_file();
	CHECK(getauxval(AT_UID) == getuid() && getauxval(AT_SECURE) == 0);
	return 0;
}
