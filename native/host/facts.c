/* SPDX-License-Identifier: Apache-2.0
 *
 * What an earlier run kept holds as long as nothing changed that it follows from: this
 * machine and its boot, our rights, directories, files of ours.  Python says which files
 * (runner/quick.py); what counts of them is said here, for it and for native/start.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "facts.h"

#define FNV_OFFSET 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull
#define NS 1000000000ull
#define WITHOUT_APIC_ID 0x00ffffff
#define BOOT "/proc/sys/kernel/random/boot_id"

static void mix(uint64_t *number, const void *data, size_t size)
{
	const uint8_t *byte = data;

	for (size_t i = 0; i < size; i++)
		*number = (*number ^ byte[i]) * FNV_PRIME;
}

/* A machine can be moved, or begin anew. */
static long mix_machine(uint64_t *number)
{
	static const uint32_t leaves[] = {0, 1, 7};
	uint64_t enabled = (uint64_t)softsgx_xcr0();
	int fd = open(BOOT, O_RDONLY | O_CLOEXEC);
	char boot[64];
	ssize_t size = fd < 0 ? -1 : read(fd, boot, sizeof(boot));

	if (fd >= 0)
		close(fd);
	if (size <= 0)
		return -EIO;
	mix(number, boot, (size_t)size);
	mix(number, &enabled, sizeof(enabled));
	for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++) {
		uint32_t regs[4];

		softsgx_cpuid(leaves[i], 0, regs);
		if (leaves[i] == 1)
			regs[1] &= WITHOUT_APIC_ID;
		mix(number, regs, sizeof(regs));
	}
	return 0;
}

static long mix_rights(uint64_t *number)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct sets[2];
	uint32_t words[3] = {geteuid()};

	if (syscall(SYS_capget, &head, sets))
		return -errno;
	words[1] = sets[0].effective;
	words[2] = sets[1].effective;
	mix(number, words, sizeof(words));
	return 0;
}

/* Names with commas between them, below a directory.  Of each its place counts, and of
 * what is *ours* the content. */
static void mix_names(uint64_t *number, int directory, const char *at, const char *end,
		      int is_ours)
{
	while (at < end) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const char *stop = comma ? comma : end;
		uint64_t words[4] = {0};
		char name[NAME_MAX + 1];
		struct stat st;

		snprintf(name, sizeof(name), "%.*s", (int)(stop - at), at);
		if (!fstatat(directory, name, &st, 0)) {
			words[0] = st.st_dev;
			words[1] = st.st_ino;
		}
		if (words[1] && is_ours) {
			words[2] = st.st_mtim.tv_sec * NS + st.st_mtim.tv_nsec;
			words[3] = (uint64_t)st.st_size;
		}
		mix(number, words, sizeof(words));
		at = stop + 1;
	}
}

static int digit(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

long softsgx_unhex(const char *at, size_t size, void *to)
{
	uint8_t *out = to;

	for (size_t i = 0; i + 1 < size; i += 2) {
		int high = digit(at[i]), low = digit(at[i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		*out++ = (uint8_t)(high << 4 | low);
	}
	return size % 2 ? -EINVAL : (long)(size / 2);
}

static int open_ours(const struct softsgx_kept *kept)
{
	char root[PATH_MAX] = "";

	if (kept->root_size / 2 >= sizeof(root) ||
	    softsgx_unhex(kept->root, kept->root_size, root) < 0)
		return -1;
	return open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The next of a word's fields, which end with one of two bytes, or with the word. */
static const char *field(const char **at, const char *end, char stop, size_t *size)
{
	const char *first = *at, *found;

	if (!first)
		return NULL;
	found = memchr(first, stop, (size_t)(end - first));
	*at = found ? found + 1 : NULL;
	*size = found ? (size_t)(found - first) : 0;
	return found ? first : NULL;
}

static int parse(const char *at, const char *end, struct softsgx_kept *kept)
{
	size_t size;
	const char *data = field(&at, end, ':', &size);
	const char *slots = field(&at, end, ':', &size);

	kept->files = field(&at, end, ':', &kept->files_size);
	kept->config = field(&at, end, ':', &kept->config_size);
	kept->places = field(&at, end, ':', &kept->places_size);
	kept->root = field(&at, end, ':', &kept->root_size);
	if (!kept->root)
		return 0;
	kept->ours = at;
	kept->ours_size = (size_t)(end - at);
	kept->data = strtoull(data, NULL, 16);
	kept->slots = strtoull(slots, NULL, 16);
	return 1;
}

/* A number of a word and of all that it follows from, as it is now; 0: of none. */
static uint64_t number_of(const char *word, const char *end, struct softsgx_kept *kept)
{
	uint64_t number = FNV_OFFSET;
	int ours;

	if (!parse(word, end, kept) || mix_machine(&number) || mix_rights(&number))
		return 0;
	ours = open_ours(kept);
	if (ours < 0)
		return 0;
	mix(&number, word, (size_t)(end - word));
	mix_names(&number, AT_FDCWD, kept->places, kept->places + kept->places_size, 0);
	mix_names(&number, ours, kept->ours, kept->ours + kept->ours_size, 1);
	close(ours);
	return number;
}

uint64_t softsgx_number_of(const char *word, size_t size)
{
	struct softsgx_kept kept;

	return number_of(word, word + size, &kept);
}

/* A line is for one checker: this code in one file that was built. */
long softsgx_checker(const char *path, char *key)
{
	struct stat st;

	if (stat(path, &st))
		return -errno;
	return snprintf(key, MAX_KEY, "%lx.%lx.%lx.%lx ", (unsigned long)st.st_dev,
			(unsigned long)st.st_ino,
			(unsigned long)(st.st_mtim.tv_sec * NS + st.st_mtim.tv_nsec),
			(unsigned long)st.st_size);
}

static const char *last_line(const char *lines, const char *end, const char *key)
{
	const char *found = NULL;
	size_t size = strlen(key);

	for (const char *at = lines, *stop; at < end; at = stop + 1) {
		stop = memchr(at, '\n', (size_t)(end - at));
		if (!stop)
			break;
		if ((size_t)(stop - at) > size && !memcmp(at, key, size))
			found = at + size;
	}
	return found;
}

/* What lines have for a checker, if it still holds: 1; it points into them. */
long softsgx_recall(const char *path, const char *lines, size_t size,
		    struct softsgx_kept *kept)
{
	char key[MAX_KEY], *rest;
	const char *word;
	uint64_t number;

	if (softsgx_checker(path, key) < 0)
		return 0;
	word = last_line(lines, lines + size, key);
	if (!word)
		return 0;
	number = strtoull(word, &rest, 16);
	if (!number || *rest != ':')
		return 0;
	rest++;
	return number == number_of(rest, strchr(rest, '\n'), kept);
}
