/* SPDX-License-Identifier: Apache-2.0
 *
 * What earlier runs kept, and the images.  Only what nobody else could have written is
 * read, by the rules of runner/kept.py, which alone writes.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts.h"
#include "start.h"

#define CONFIGS "agent-config-2"
#define FULL (1 << 19) /* Python begins such a file anew */
#define OTHERS_WRITE 022

static int is_ours(const struct stat *st, mode_t kind)
{
	return (st->st_mode & S_IFMT) == kind && st->st_uid == geteuid() &&
	       !(st->st_mode & OTHERS_WRITE);
}

static struct text read_all(int fd, size_t size)
{
	struct text text = {malloc(size + 1), 0};
	ssize_t got = text.at ? pread(fd, text.at, size, 0) : -1;

	if (got < 0) {
		free(text.at);
		text.at = NULL;
		return text;
	}
	text.size = (size_t)got;
	text.at[got] = 0;
	return text;
}

struct text read_at(int directory, const char *name)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	struct text text = {NULL, 0};
	struct stat st;

	if (fd < 0)
		return text;
	if (!fstat(fd, &st))
		text = read_all(fd, (size_t)st.st_size);
	close(fd);
	return text;
}

/* The user's cache directory, or none: "". */
static void find_caches(char *path, size_t size)
{
	const char *caches = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int length = 0;

	if (caches && *caches)
		length = snprintf(path, size, "%s/softsgx", caches);
	else if (home && *home)
		length = snprintf(path, size, "%s/.cache/softsgx", home);
	if (length <= 0 || (size_t)length >= size || *path != '/')
		*path = 0;
}

struct text read_kept(const char *name)
{
	struct text text = {NULL, 0};
	char path[PATH_MAX], file[PATH_MAX + 32];
	struct stat st;
	int fd;

	find_caches(path, sizeof(path));
	if (!*path || lstat(path, &st) || !is_ours(&st, S_IFDIR))
		return text;
	snprintf(file, sizeof(file), "%s/%s", path, name);
	fd = open(file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return text;
	if (!fstat(fd, &st) && is_ours(&st, S_IFREG) && st.st_size <= FULL)
		text = read_all(fd, (size_t)st.st_size);
	close(fd);
	while (text.size && text.at[text.size - 1] != '\n')
		text.size--;
	return text;
}

/* ---- what a start needs ---- */

static int read_images(struct softsgx_image *image, const struct softsgx_kept *kept)
{
	char root[PATH_MAX] = "";
	struct text agent, vdso;
	int directory;

	if (softsgx_unhex(kept->root, kept->root_size, root) < 0)
		return 0;
	directory = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return 0;
	agent = read_at(directory, "native/agent.bin");
	vdso = read_at(directory, "native/vdso.bin");
	close(directory);
	image->agent = (const uint8_t *)agent.at;
	image->agent_size = agent.size;
	image->vdso = (const uint8_t *)vdso.at;
	image->vdso_size = vdso.size;
	return agent.at && vdso.at;
}

int recall_start(struct start *start)
{
	struct text lines = read_kept(CONFIGS), places;
	struct softsgx_kept kept;
	char name[NAME_MAX + 1];
	uint8_t *config;

	*start = (struct start){.files = NULL};
	if (!lines.at || !softsgx_recall("/proc/self/exe", lines.at, lines.size, &kept))
		return 0;
	config = malloc(kept.config_size / 2 + 1);
	if (!config || softsgx_unhex(kept.config, kept.config_size, config) < 0 ||
	    !read_images(&start->image, &kept))
		return 0;
	start->image.config = config;
	start->image.config_size = kept.config_size / 2;
	start->image.data = kept.data;
	start->image.vdso_slots = kept.slots;
	if (!kept.files_size)
		return 1;
	snprintf(name, sizeof(name), "%.*s", (int)kept.files_size, kept.files);
	places = read_kept(name);
	if (places.at)
		start->files = softsgx_files(places.at, places.size);
	return start->files != NULL;
}
