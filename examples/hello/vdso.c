/* SPDX-License-Identifier: Apache-2.0 */
/* Finds __vdso_sgx_enter_enclave in the image that the kernel maps into us. */
#define _GNU_SOURCE
#include <elf.h>
#include <err.h>
#include <string.h>
#include <sys/auxv.h>

#include "load.h"

#define FUNCTION "__vdso_sgx_enter_enclave"

struct image {
	uintptr_t base;
	const Elf64_Sym *symbols;
	const char *strings;
	const uint32_t *hash;
	const uint32_t *gnu_hash;
};

static void read_dynamic(struct image *image, const Elf64_Dyn *dynamic)
{
	for (; dynamic->d_tag != DT_NULL; dynamic++) {
		const void *at = (const void *)(image->base + dynamic->d_un.d_ptr);

		if (dynamic->d_tag == DT_SYMTAB)
			image->symbols = at;
		else if (dynamic->d_tag == DT_STRTAB)
			image->strings = at;
		else if (dynamic->d_tag == DT_HASH)
			image->hash = at;
		else if (dynamic->d_tag == DT_GNU_HASH)
			image->gnu_hash = at;
	}
}

/* The GNU table gives no number of symbols: it is the end of the last chain. */
static uint32_t count_by_gnu_hash(const uint32_t *table)
{
	uint32_t buckets = table[0], first = table[1], blooms = table[2], last = 0;
	const uint32_t *bucket = table + 4 + 2 * blooms, *chain = bucket + buckets;

	for (uint32_t i = 0; i < buckets; i++)
		if (bucket[i] > last)
			last = bucket[i];
	if (last < first)
		return first;
	while (!(chain[last - first] & 1))
		last++;
	return last + 1;
}

static const void *find(const struct image *image, const char *name)
{
	uint32_t count = image->hash ? image->hash[1] : count_by_gnu_hash(image->gnu_hash);

	for (uint32_t i = 0; i < count; i++) {
		const Elf64_Sym *symbol = &image->symbols[i];

		if (symbol->st_shndx != SHN_UNDEF &&
		    !strcmp(image->strings + symbol->st_name, name))
			return (const void *)(image->base + symbol->st_value);
	}
	return NULL;
}

vdso_sgx_enter_enclave_t vdso_enter_enclave(void)
{
	static vdso_sgx_enter_enclave_t function;
	struct image image = { .base = getauxval(AT_SYSINFO_EHDR) };
	const Elf64_Ehdr *header = (const void *)image.base;
	const Elf64_Phdr *segment;
	const void *found;

	if (function)
		return function;
	if (!header)
		errx(1, "the kernel gave this program no vDSO");
	segment = (const void *)(image.base + header->e_phoff);
	for (unsigned int i = 0; i < header->e_phnum; i++)
		if (segment[i].p_type == PT_DYNAMIC)
			read_dynamic(&image, (const void *)(image.base + segment[i].p_offset));
	if (!image.symbols || !image.strings || !(image.hash || image.gnu_hash))
		errx(1, "the vDSO has no symbols");
	found = find(&image, FUNCTION);
	if (!found)
		errx(1, "the vDSO has no " FUNCTION ": a kernel before 5.11, or without SGX");
	memcpy(&function, &found, sizeof(function));
	return function;
}
