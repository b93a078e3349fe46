/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a process has CPUIDs and shortcuts: in the code of files that are known.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "gen_abi.h"
#include "plain.h"

#define MAX_CODE 32

/* What has no room, traps. */
static void shortcut_add(struct shortcuts *all, uint64_t place, uint64_t start,
			 uint64_t length, uint64_t offset)
{
	uint64_t mask = (1ul << SHORTCUT_SHIFT) - 1;
	uint64_t site = (place & mask) - offset;
	uint64_t stub = (place >> SHORTCUT_STUB_SHIFT & mask) - offset;

	if (site < length && stub < length && all->count < MAX_SHORTCUTS)
		all->at[all->count++] = (struct shortcut){
			start + site, start + stub, place >> SHORTCUT_SHIFT & 15};
}

long places_add(struct places *p, const struct known *k, uint64_t start, uint64_t length,
		uint64_t offset)
{
	for (size_t i = 0; i < k->count; i++) {
		if (k->places[i] & SHORTCUT)
			shortcut_add(&p->shortcuts, k->places[i], start, length, offset);
		if (k->places[i] - offset >= length || k->places[i] & SHORTCUT)
			continue;
		if (p->count == MAX_NEW_PLACES)
			return -E2BIG;
		p->at[p->count++] = start + k->places[i] - offset;
	}
	return 0;
}

/* Without an inode: whichever the path leads to. */
const struct known *known_at(struct softsgx_files *files, const char *path,
			     uint64_t inode)
{
	struct identity id;
	struct stat st;

	if (stat(path, &st) || (inode && st.st_ino != inode))
		return NULL;
	identity_of(&st, &id);
	return known_find(files, &id);
}

/* The file behind a mapping; see mappings.py for the two names. */
static const struct known *known_behind(struct softsgx_files *files, pid_t pid,
					const struct softsgx_mapping *m)
{
	const struct known *found;
	char path[600];

	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", pid, m->start, m->end);
	found = known_at(files, path, m->inode);
	if (found || !m->path[0])
		return found;
	snprintf(path, sizeof(path), "/proc/%d/root%s", pid, m->path);
	return known_at(files, path, m->inode);
}

long places_of_program(struct softsgx_files *files, pid_t pid, struct places *p)
{
	struct softsgx_mapping found[MAX_CODE];
	long n = softsgx_code_mappings(pid, found, MAX_CODE), ret = 0;

	if (n < 0 || n == MAX_CODE)
		return n < 0 ? n : -E2BIG;
	for (long i = 0; i < n && !ret; i++) {
		const struct softsgx_mapping *m = &found[i];
		const struct known *k;

		if (m->path[0] && m->path[0] != '/')
			continue;
		k = known_behind(files, pid, m);
		if (!k)
			return -ENOENT;
		ret = places_add(p, k, m->start, m->end - m->start, m->offset);
		known_done(files);
	}
	return ret;
}
