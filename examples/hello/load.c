/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "load.h"

#include <elf.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flat.h"
#include "isgx.h"

#define DEVICE "/dev/sgx_enclave"
#define PROVISION_DEVICE "/dev/sgx_provision"
#define ATTRIBUTE_PROVISIONKEY 0x10ull

struct init_with_token {
	uint64_t sigstruct;
	uint64_t token;
};
#define INIT_WITH_TOKEN _IOW(SGX_MAGIC, 0x02, struct init_with_token)

struct file {
	const uint8_t *bytes;
	uint64_t size;
};

const char *beside_us(const char *name, char path[PATH_MAX])
{
	ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *slash;

	if (length < 0)
		err(1, "/proc/self/exe");
	path[length] = '\0';
	slash = strrchr(path, '/') + 1;
	if (slash - path + strlen(name) >= PATH_MAX)
		errx(1, "%s: the path is too long", path);
	strcpy(slash, name);
	return path;
}

static uint64_t pages_up(uint64_t length)
{
	return (length + PAGE - 1) & ~(uint64_t)(PAGE - 1);
}

static struct file file_read(const char *path)
{
	struct file file;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		err(1, "%s", path);
	file.size = (uint64_t)st.st_size;
	file.bytes = mmap(NULL, file.size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file.bytes == MAP_FAILED)
		err(1, "%s", path);
	close(fd);
	return file;
}

static void *anonymous(uint64_t length, int prot)
{
	void *memory = mmap(NULL, length, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "no room for %#llx bytes", (unsigned long long)length);
	return memory;
}

struct sigstruct sigstruct_read(const char *path)
{
	struct file file = file_read(path);
	struct sigstruct sig;

	if (file.size != sizeof(sig))
		errx(1, "%s: not a SIGSTRUCT (%llu bytes)", path,
		     (unsigned long long)file.size);
	memcpy(&sig, file.bytes, sizeof(sig));
	munmap((void *)file.bytes, file.size);
	return sig;
}

/* ELRANGE must be aligned to its size: take twice as much, give the ends back. */
static uint64_t reserve(uint64_t size)
{
	uint64_t got = (uint64_t)anonymous(2 * size, PROT_NONE);
	uint64_t base = (got + size - 1) & ~(size - 1);

	if (base > got)
		munmap((void *)got, base - got);
	if (got + size > base)
		munmap((void *)(base + size), got + size - base);
	return base;
}

static void open_device(struct enclave *enclave)
{
	enclave->fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (enclave->fd < 0 && errno == ENOENT) {
		enclave->fd = open(ISGX_DEVICE, O_RDWR | O_CLOEXEC);
		enclave->is_isgx = true;
	}
	if (enclave->fd < 0 && errno == ENOENT)
		errx(1, DEVICE ": this machine offers no SGX");
	if (enclave->fd < 0)
		err(1, enclave->is_isgx ? ISGX_DEVICE : DEVICE);
}

/* Who may open the other device may have enclaves with PROVISIONKEY. */
static void allow_provisioning(const struct enclave *enclave)
{
	int fd = open(PROVISION_DEVICE, O_RDWR | O_CLOEXEC);
	struct sgx_enclave_provision provision = { .fd = (uint64_t)fd };

	if (fd < 0)
		err(1, PROVISION_DEVICE);
	if (ioctl(enclave->fd, SGX_IOC_ENCLAVE_PROVISION, &provision))
		err(1, "SGX_IOC_ENCLAVE_PROVISION");
	close(fd);
}

struct enclave enclave_create(uint64_t size, const struct secs *wanted)
{
	struct enclave enclave = { .size = size };
	struct sgx_enclave_create create;
	struct secs secs = *wanted;

	open_device(&enclave);
	secs.size = size;
	if (enclave.is_isgx) {
		isgx_create(&enclave, &secs);
		return enclave;
	}
	enclave.base = reserve(size);
	secs.baseaddr = enclave.base;
	create.src = (uint64_t)&secs;
	if (ioctl(enclave.fd, SGX_IOC_ENCLAVE_CREATE, &create))
		err(1, "SGX_IOC_ENCLAVE_CREATE");
	if (secs.attributes & ATTRIBUTE_PROVISIONKEY)
		allow_provisioning(&enclave);
	return enclave;
}

void enclave_add(const struct enclave *enclave, const void *from, uint64_t offset,
		 uint64_t length, uint64_t secinfo_flags, bool measure)
{
	struct secinfo secinfo = { .flags = secinfo_flags };
	uint64_t done = 0;

	if (enclave->is_isgx) {
		isgx_add(enclave, from, offset, length, &secinfo, measure);
		return;
	}
	/* The driver stops early, with success, when a signal is waiting. */
	while (done < length) {
		struct sgx_enclave_add_pages add = {
			.src = (uint64_t)from + done,
			.offset = offset + done,
			.length = length - done,
			.secinfo = (uint64_t)&secinfo,
			.flags = measure ? SGX_PAGE_MEASURE : 0,
		};

		if (ioctl(enclave->fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add) && errno != EINTR)
			err(1, "SGX_IOC_ENCLAVE_ADD_PAGES at %#llx",
			    (unsigned long long)add.offset);
		done += add.count;
	}
}

static uint64_t secinfo_of(const Elf64_Phdr *segment)
{
	if (segment->p_flags & FLAT_PF_TCS)
		return SECINFO_TCS;
	return SECINFO_REG | (segment->p_flags & PF_R ? SECINFO_R : 0) |
	       (segment->p_flags & PF_W ? SECINFO_W : 0) |
	       (segment->p_flags & PF_X ? SECINFO_X : 0);
}

static void add_segment(struct enclave *enclave, struct file elf,
			const Elf64_Phdr *segment)
{
	uint64_t length = pages_up(segment->p_memsz);
	void *image = anonymous(length, PROT_READ | PROT_WRITE);

	if (segment->p_filesz > segment->p_memsz || segment->p_offset > elf.size ||
	    segment->p_filesz > elf.size - segment->p_offset)
		errx(1, "segment %u lies outside its file", enclave->segments);
	memcpy(image, elf.bytes + segment->p_offset, segment->p_filesz);
	enclave_add(enclave, image, segment->p_vaddr, length, secinfo_of(segment),
		    !(segment->p_flags & FLAT_PF_UNMEASURED));
	munmap(image, length);
	if ((segment->p_flags & FLAT_PF_TCS) && !enclave->tcs)
		enclave->tcs = enclave->base + segment->p_vaddr;
	enclave->segments++;
}

static void map_segment(const struct enclave *enclave, const Elf64_Phdr *segment)
{
	void *at = (void *)(enclave->base + segment->p_vaddr);
	int prot = (segment->p_flags & PF_R ? PROT_READ : 0) |
		   (segment->p_flags & PF_W ? PROT_WRITE : 0) |
		   (segment->p_flags & PF_X ? PROT_EXEC : 0);

	if (enclave->is_isgx) {
		if (mprotect(at, pages_up(segment->p_memsz), prot))
			err(1, "mprotect of the enclave at %p", at);
	} else if (mmap(at, pages_up(segment->p_memsz), prot, MAP_SHARED | MAP_FIXED,
			enclave->fd, 0) == MAP_FAILED) {
		err(1, "mmap of the enclave at %p", at);
	}
}

static const Elf64_Phdr *program_headers(struct file elf, const char *path)
{
	const Elf64_Ehdr *header = (const void *)elf.bytes;

	if (elf.size < sizeof(*header) || memcmp(header->e_ident, ELFMAG, SELFMAG) ||
	    header->e_ident[EI_CLASS] != ELFCLASS64 ||
	    header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phoff > elf.size ||
	    header->e_phnum > (elf.size - header->e_phoff) / sizeof(Elf64_Phdr))
		errx(1, "%s: not a 64-bit ELF file", path);
	return (const void *)(elf.bytes + header->e_phoff);
}

/* The note is the only one of ours in a PT_NOTE; other notes are skipped. */
static struct flat_note find_note(struct file elf, const char *path)
{
	const Elf64_Phdr *headers = program_headers(elf, path);
	const size_t name_size = sizeof(FLAT_NOTE_NAME), at = (name_size + 3) & ~3ul;
	struct flat_note note;

	for (unsigned int i = 0; i < ((const Elf64_Ehdr *)elf.bytes)->e_phnum; i++) {
		const Elf64_Nhdr *found = (const void *)(elf.bytes + headers[i].p_offset);
		const char *name = (const char *)(found + 1);

		if (headers[i].p_type != PT_NOTE || headers[i].p_offset > elf.size ||
		    elf.size - headers[i].p_offset < sizeof(*found) + at + sizeof(note) ||
		    found->n_type != FLAT_NOTE_TYPE || found->n_namesz != name_size ||
		    found->n_descsz < sizeof(note) || memcmp(name, FLAT_NOTE_NAME, name_size))
			continue;
		memcpy(&note, name + at, sizeof(note));
		if (note.version == FLAT_NOTE_VERSION)
			return note;
	}
	errx(1, "%s: no %s note: not an enclave of this format", path, FLAT_NOTE_NAME);
}

static uint64_t elrange_size(const struct flat_note *note, const Elf64_Phdr *headers,
			     unsigned int count)
{
	uint64_t end = PAGE, size = PAGE;

	if (note->size)
		return note->size;
	for (unsigned int i = 0; i < count; i++)
		if (headers[i].p_type == PT_LOAD && end < headers[i].p_vaddr + headers[i].p_memsz)
			end = headers[i].p_vaddr + headers[i].p_memsz;
	while (size < end)
		size *= 2;
	return size;
}

/* A token goes in a second field, which the mainline kernel does not have. */
static void init(const struct enclave *enclave, const char *sig_path,
		 struct sigstruct *sig, const void *token)
{
	struct sgx_enclave_init plain = { .sigstruct = (uint64_t)sig };
	struct init_with_token with = { .sigstruct = (uint64_t)sig,
					.token = (uint64_t)token };
	int failed = enclave->is_isgx ? isgx_init(enclave, sig, token) :
		     token	      ? ioctl(enclave->fd, INIT_WITH_TOKEN, &with) :
					ioctl(enclave->fd, SGX_IOC_ENCLAVE_INIT, &plain);

	if (failed > 0)
		errx(1, "SGX_IOC_ENCLAVE_INIT with %s: SGX error %d", sig_path, failed);
	if (failed)
		err(1, "SGX_IOC_ENCLAVE_INIT with %s", sig_path);
}

struct enclave enclave_load(const char *elf_path, const char *sig_path)
{
	return enclave_load_with(elf_path, sig_path, NULL);
}

struct enclave enclave_load_with(const char *elf_path, const char *sig_path,
				 const void *token)
{
	struct file elf = file_read(elf_path);
	const Elf64_Phdr *headers = program_headers(elf, elf_path);
	unsigned int count = ((const Elf64_Ehdr *)elf.bytes)->e_phnum;
	struct flat_note note = find_note(elf, elf_path);
	struct sigstruct sig = sigstruct_read(sig_path);
	struct secs secs = { .ssaframesize = note.ssaframesize,
			     .miscselect = note.miscselect };
	struct enclave enclave;

	/* The signer says what kind of enclave it is; the loader only obeys. */
	memcpy(&secs.attributes, sig.attributes_and_xfrm, sizeof(sig.attributes_and_xfrm));
	enclave = enclave_create(elrange_size(&note, headers, count), &secs);
	for (unsigned int i = 0; i < count; i++)
		if (headers[i].p_type == PT_LOAD)
			add_segment(&enclave, elf, &headers[i]);
	init(&enclave, sig_path, &sig, token);
	for (unsigned int i = 0; i < count; i++)
		if (headers[i].p_type == PT_LOAD)
			map_segment(&enclave, &headers[i]);
	munmap((void *)elf.bytes, elf.size);
	if (!enclave.tcs)
		errx(1, "%s: no TCS: nowhere to enter", elf_path);
	return enclave;
}

void enclave_enter(const struct enclave *enclave, void *argument)
{
	struct sgx_enclave_run run = { .tcs = enclave->tcs };
	int failed = vdso_enter_enclave()((unsigned long)argument, 0, 0, EENTER, 0, 0, &run);

	if (failed)
		errx(1, "__vdso_sgx_enter_enclave: %s", strerror(-failed));
	if (run.function != EEXIT)
		errx(1, "the enclave was stopped: exception %u, error code %#x, at %#llx",
		     run.exception_vector, run.exception_error_code,
		     (unsigned long long)run.exception_addr);
}
