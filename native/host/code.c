/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process has mapped, its code above all, from the ioctl of /proc/PID/maps that answers for one
 * mapping at a time (Linux 6.11): the text form takes longer than an injection.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "softsgx.h"

struct query {
	uint64_t size, flags, address;
	uint64_t start, end, vma_flags, page_size, offset, inode;
	uint32_t dev_major, dev_minor, name_size, build_id_size;
	uint64_t name, build_id;
};
_Static_assert(sizeof(struct query) == 104, "procmap_query");

#define QUERY _IOWR('f', 17, struct query)
enum { VMA_EXECUTABLE = 4, COVERING_OR_NEXT = 0x10, FILE_BACKED = 0x20 };

/* The next one from query->address on, of those that query->flags asks for.  A name that
 * is too long stays empty. */
static long next_mapping(int fd, struct query *query, struct softsgx_mapping *to)
{
	query->name = (uint64_t)to->path;
	query->name_size = sizeof(to->path);
	to->path[0] = 0;
	if (ioctl(fd, QUERY, query)) {
		if (errno != ENAMETOOLONG)
			return -errno;
		query->name = query->name_size = 0;
		if (ioctl(fd, QUERY, query))
			return -errno;
	}
	to->start = query->start;
	to->end = query->end;
	to->offset = query->offset;
	to->inode = query->inode;
	query->address = query->end;
	return 0;
}

static int open_maps(pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* Find a process's executable mappings of files, lowest first: how many, at most max. */
long softsgx_code_mappings(pid_t pid, struct softsgx_mapping *found, size_t max)
{
	struct query query = {.size = sizeof(query)};
	size_t n = 0;
	long ret = 0;
	int fd = open_maps(pid);

	query.flags = VMA_EXECUTABLE | COVERING_OR_NEXT | FILE_BACKED;
	if (fd < 0)
		return -errno;
	while (n < max && (ret = next_mapping(fd, &query, &found[n])) == 0)
		n++;
	close(fd);
	return ret && ret != -ENOENT ? ret : (long)n;
}

/* Find the first mapping that ends above an address: 1 if it may be executed, 0 if not. */
long softsgx_mapping_at(pid_t pid, uint64_t address, struct softsgx_mapping *to)
{
	struct query query = {.size = sizeof(query), .address = address};
	int fd = open_maps(pid);
	long ret;

	query.flags = COVERING_OR_NEXT;
	if (fd < 0)
		return -errno;
	ret = next_mapping(fd, &query, to);
	close(fd);
	return ret ? ret : (query.vma_flags & VMA_EXECUTABLE) != 0;
}
