/* SPDX-License-Identifier: Apache-2.0
 *
 * Putting the agent into a process that called from the stub of exec.c: its memory is
 * mapped and empty, and the process waits for an answer.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/uio.h>
#include <unistd.h>

#include "gen_abi.h"
#include "plain.h"

#define MAX_STACK_WORDS 8192
#define FIRST_STACK_WORDS 512
#define PAGE 4096ul
#define MAX_PIECES 80

/* Find AT_SYSINFO_EHDR above the stack pointer of a fresh process: argc, argv, envp,
 * auxv.  1, with its address and the value; 0: it is not in the words that were read. */
static int find_vdso(const uint64_t *words, size_t n, uint64_t *at, uint64_t *value)
{
	size_t i = 1 + words[0] + 1;

	if (words[0] >= n)
		return 0;
	while (i < n && words[i])
		i++;
	for (i++; i + 1 < n && words[i] != AT_NULL; i += 2) {
		if (words[i] != AT_SYSINFO_EHDR)
			continue;
		*at = (i + 1) * 8;
		*value = words[i + 1];
		return 1;
	}
	return 0;
}

/* Few programs have more arguments and variables than fit in the first piece; the stack
 * may end before the last does. */
static int read_vdso(pid_t pid, uint64_t sp, uint64_t *address, uint64_t *value)
{
	uint64_t words[MAX_STACK_WORDS];

	for (size_t n = FIRST_STACK_WORDS; n <= MAX_STACK_WORDS; n *= 4) {
		long got = read_memory(pid, sp, words, n * 8);

		if (got > 8 && find_vdso(words, got / 8, address, value)) {
			*address += sp;
			return 1;
		}
	}
	return 0;
}

/* ---- the machine's own vDSO: the same image in every process ---- */

static const char *const passed_on[] = {"__vdso_clock_gettime", "__vdso_gettimeofday",
					"__vdso_time", "__vdso_getcpu",
					"__vdso_clock_getres"};
#define NR_PASSED (sizeof(passed_on) / sizeof(passed_on[0]))

static uint64_t own_vdso_offset(const char *name)
{
	uint64_t base = getauxval(AT_SYSINFO_EHDR);
	const Elf64_Ehdr *ehdr = (const void *)base;
	const Elf64_Phdr *phdr = (const void *)(base + ehdr->e_phoff);
	const Elf64_Dyn *dyn = NULL;
	const Elf64_Sym *sym = NULL;
	const uint32_t *hash = NULL;
	const char *str = NULL;

	for (int i = 0; i < ehdr->e_phnum; i++)
		if (phdr[i].p_type == PT_DYNAMIC)
			dyn = (const void *)(base + phdr[i].p_offset);
	for (; dyn && dyn->d_tag != DT_NULL; dyn++) {
		if (dyn->d_tag == DT_SYMTAB)
			sym = (const void *)(base + dyn->d_un.d_ptr);
		if (dyn->d_tag == DT_STRTAB)
			str = (const void *)(base + dyn->d_un.d_ptr);
		if (dyn->d_tag == DT_HASH)
			hash = (const void *)(base + dyn->d_un.d_ptr);
	}
	for (uint32_t i = 0; sym && str && hash && i < hash[1]; i++)
		if (sym[i].st_shndx && strcmp(str + sym[i].st_name, name) == 0)
			return sym[i].st_value;
	return 0;
}

/* ---- what is written ---- */

/* Pieces of our memory, and where each goes in the process: one system call. */
struct pieces {
	size_t count;
	struct iovec ours[MAX_PIECES], theirs[MAX_PIECES];
	uint64_t slots[NR_PASSED];
};

static void add(struct pieces *p, uint64_t to, const void *from, size_t size)
{
	if (p->count == MAX_PIECES)
		return; /* write_pieces sees it */
	p->ours[p->count] = (struct iovec){(void *)from, size};
	p->theirs[p->count++] = (struct iovec){(void *)to, size};
}

static long write_pieces(pid_t pid, const struct pieces *p)
{
	size_t whole = 0;
	ssize_t done;

	for (size_t i = 0; i < p->count; i++)
		whole += p->ours[i].iov_len;
	done = process_vm_writev(pid, p->ours, p->count, p->theirs, p->count, 0);
	if (done < 0)
		return -errno;
	return (size_t)done == whole && p->count < MAX_PIECES ? 0 : -EFAULT;
}

/* The image's pages that are not all zero: fresh memory is. */
static void add_agent(struct pieces *p, const struct softsgx_image *image)
{
	static const uint8_t zero[PAGE];

	for (uint64_t at = 0; at < image->agent_size; at += PAGE) {
		uint64_t rest = image->agent_size - at;
		uint64_t size = rest < PAGE ? rest : PAGE;

		if (memcmp(image->agent + at, zero, size))
			add(p, AGENT_BASE + at, image->agent + at, size);
	}
}

/* Our vDSO image, its calls to the machine's own filled in. */
static void add_vdso(struct pieces *p, const struct softsgx_image *image, uint64_t real)
{
	static uint64_t offsets[NR_PASSED];
	uint64_t at = AGENT_BASE + VDSO_OFFSET;

	for (size_t i = 0; i < NR_PASSED; i++) {
		if (!offsets[i])
			offsets[i] = own_vdso_offset(passed_on[i]);
		p->slots[i] = real + offsets[i];
	}
	add(p, at, image->vdso, image->vdso_size);
	add(p, at + image->vdso_slots, p->slots, sizeof(p->slots));
}

/* How many of the addresses rise and lie within a page's length. */
static size_t nearby(const uint64_t *addresses, size_t count)
{
	size_t n = 1;

	while (n < count && addresses[n] > addresses[n - 1] &&
	       addresses[n] - addresses[0] < PAGE)
		n++;
	return n;
}

void rewrite_sites(int mem, uint64_t *addresses, size_t count, uint8_t byte)
{
	uint8_t code[PAGE + 1];

	for (size_t n; count; addresses += n, count -= n) {
		uint64_t first = addresses[0];
		ssize_t size, done;

		n = nearby(addresses, count);
		size = (ssize_t)(addresses[n - 1] - first) + 2;
		done = pread(mem, code, size, first);
		for (size_t i = 0; i < n; i++) {
			uint8_t *at = code + (addresses[i] - first);

			if (done != size || at[0] != 0x0f || at[1] != 0xa2)
				addresses[i] = 0;
			else
				*at = byte;
		}
		if (done == size && pwrite(mem, code, size, first) != size)
			memset(addresses, 0, n * sizeof(*addresses));
	}
}

int open_memory(pid_t pid)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The memory of a thread that waits for us: a descriptor stays that of its memory,
 * whoever has its number later. */
int open_waiting(int listener, uint64_t id, pid_t pid)
{
	int mem = open_memory(pid);

	if (mem >= 0 && !softsgx_waits(listener, id)) {
		close(mem);
		return -ESRCH;
	}
	return mem;
}

long softsgx_rewrite_cpuid(int listener, uint64_t id, pid_t pid, uint64_t *addresses,
			   size_t count, uint8_t byte)
{
	int mem = open_waiting(listener, id, pid);

	if (mem < 0)
		return mem;
	rewrite_sites(mem, addresses, count, byte);
	close(mem);
	return 0;
}

long write_code(int mem, const struct softsgx_image *image,
		const struct softsgx_start *start, uint64_t *addresses, size_t count)
{
	const struct abi_config *head = (const void *)image->config;
	uint8_t byte = head->flags & CONFIGFLAG_WATCHED ? SITE_HLT : SITE_INT3;

	if (pwrite(mem, start->code, STUB_SIZE, start->rip & -PAGE) != STUB_SIZE)
		return -EFAULT;
	rewrite_sites(mem, addresses, count, byte);
	return 0;
}

static void fill_config(struct abi_config *head, const struct softsgx_start *start)
{
	head->entry = start->rip;
	head->stack = start->rsp;
	head->blocked = start->mask | start->blocked;
	head->pending = start->pending;
	head->pid = (uint32_t)start->pid;
	head->filtered = (uint32_t)start->filtered;
}

long write_agent(int listener, uint64_t id, const struct softsgx_image *image,
		 const struct softsgx_start *start, const uint64_t *addresses, size_t count)
{
	struct pieces pieces;
	struct abi_config head;
	uint64_t auxv, real, ours = AGENT_BASE + VDSO_OFFSET;
	uint64_t sites = image->data + image->config_size;

	memcpy(&head, image->config, sizeof(head));
	if (count > MAX_SITES)
		count = MAX_SITES;
	fill_config(&head, start);
	head.sites = count;
	head.bare = (uint32_t)image->nr_bare;
	pieces.count = 0;
	add_agent(&pieces, image);
	add(&pieces, image->data, &head, sizeof(head));
	add(&pieces, image->data + sizeof(head), image->config + sizeof(head),
	    image->config_size - sizeof(head));
	if (count)
		add(&pieces, sites, addresses, count * sizeof(*addresses));
	if (image->nr_bare)
		add(&pieces, sites + MAX_SITES * sizeof(*addresses), image->bare,
		    image->nr_bare * sizeof(*image->bare));
	if (read_vdso(start->pid, start->rsp, &auxv, &real)) {
		add_vdso(&pieces, image, real);
		add(&pieces, auxv, &ours, sizeof(ours));
	}
	if (!softsgx_waits(listener, id))
		return -ESRCH;
	return write_pieces(start->pid, &pieces);
}

/* Put the agent into a process that called from the stub; of the addresses those stay
 * at which a CPUID was rewritten. */
long softsgx_inject(int listener, uint64_t id, const struct softsgx_image *image,
		    const struct softsgx_start *start, uint64_t *addresses, size_t count)
{
	int mem = open_waiting(listener, id, start->pid);
	long ret;

	if (mem < 0)
		return mem;
	ret = write_code(mem, image, start, addresses, count);
	close(mem);
	return ret < 0 ? ret : write_agent(listener, id, image, start, addresses, count);
}
