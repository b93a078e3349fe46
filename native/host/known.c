/* SPDX-License-Identifier: Apache-2.0
 *
 * Files whose CPUIDs are known: by their identity, the places of CPUID in them.  What
 * earlier runs found is a text of lines (host_code.py writes it), read when it is asked
 * for; what this run finds is told by Python.  Several threads ask.
 *
 * A daemon's clients can have as many files as they like.  So there are two generations:
 * when the young one has had its bytes the old one is forgotten, and it becomes the old
 * one.  What is asked for becomes young again.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "known.h"

#define BUCKETS 4096
#define MAX_YOUNG_BYTES (4u << 20)
#define NS 1000000000ull
#define MAX_DIGITS 18
#define IDENTITY_WORDS (sizeof(struct identity) / sizeof(uint64_t))

struct line {
	struct line *next;
	uint64_t ino;
	const char *at;
};

struct softsgx_files {
	pthread_mutex_t lock;
	struct known *known[2][BUCKETS]; /* the young and the old */
	size_t young_bytes;
	struct line *lines[BUCKETS]; /* the last of a file first */
	const char *end;	     /* of the text */
};

void identity_of(const struct stat *st, struct identity *id)
{
	*id = (struct identity){st->st_dev, st->st_ino,
				st->st_mtim.tv_sec * NS + st->st_mtim.tv_nsec,
				st->st_ctim.tv_sec * NS + st->st_ctim.tv_nsec,
				st->st_size};
}

/* Read a number that ends with one of two bytes, or with the text: what is behind that
 * byte, NULL if it is no number. */
static const char *read_number(const char *at, const char *end, uint64_t *value,
			       const char *stops)
{
	const char *first = at;

	for (*value = 0; at < end && *at >= '0' && *at <= '9'; at++)
		*value = *value * 10 + (uint64_t)(*at - '0');
	if (at == first || at == end || (*at != stops[0] && *at != stops[1]))
		return NULL;
	return at + 1;
}

/* A line is five numbers and a word, with a space behind each number. */
static const char *read_identity(const char *at, const char *end, struct identity *id)
{
	uint64_t words[IDENTITY_WORDS];

	for (size_t i = 0; at && i < IDENTITY_WORDS; i++)
		at = read_number(at, end, &words[i], "  ");
	if (at)
		memcpy(id, words, sizeof(words));
	return at;
}

/* Read "none", or rising numbers with commas: how many, -1 if it is something else. */
static long read_places(const char *word, const char *end, uint64_t *places)
{
	long n = 0;

	if (end - word == 5 && !memcmp(word, "none\n", 5))
		return 0;
	while (word < end) {
		const char *next = read_number(word, end, &places[n], ",\n");

		if (!next || next - word > MAX_DIGITS + 1 ||
		    (n && places[n] <= places[n - 1]))
			return -1;
		n++;
		word = next;
	}
	return n ? n : -1;
}

static size_t bytes_of(const struct known *k)
{
	return sizeof(*k) + k->count * sizeof(*k->places);
}

static void forget_old(struct softsgx_files *files)
{
	struct known *k, *next;

	for (size_t i = 0; i < BUCKETS; i++)
		for (k = files->known[1][i]; k; k = next) {
			next = k->next;
			free(k);
		}
	memcpy(files->known[1], files->known[0], sizeof(files->known[1]));
	memset(files->known[0], 0, sizeof(files->known[0]));
	files->young_bytes = 0;
}

static void enter(struct softsgx_files *files, struct known *k)
{
	struct known **bucket;

	if (files->young_bytes + bytes_of(k) > MAX_YOUNG_BYTES)
		forget_old(files);
	files->young_bytes += bytes_of(k);
	bucket = &files->known[0][k->id.ino % BUCKETS];
	k->next = *bucket;
	*bucket = k;
}

static struct known *add(struct softsgx_files *files, const struct identity *id,
			 const uint64_t *places, size_t count)
{
	struct known *new = malloc(sizeof(*new) + count * sizeof(*places));

	if (!new)
		return NULL;
	new->id = *id;
	new->count = count;
	memcpy(new->places, places, count * sizeof(*places));
	enter(files, new);
	return new;
}

static struct known *take(struct known **at, const struct identity *id)
{
	struct known *found;

	while (*at && memcmp(&(*at)->id, id, sizeof(*id)))
		at = &(*at)->next;
	found = *at;
	if (found)
		*at = found->next;
	return found;
}

static const struct known *recall_line(struct softsgx_files *files, const char *word)
{
	const char *end = (const char *)memchr(word, '\n', files->end - word) + 1;
	uint64_t *places = malloc((end - word) * sizeof(*places));
	struct known *new = NULL;
	struct identity id;
	long count = -1;

	word = read_identity(word, end, &id);
	if (word && places)
		count = read_places(word, end, places);
	if (count >= 0)
		new = add(files, &id, places, count);
	free(places);
	return new;
}

static const struct known *recall(struct softsgx_files *files, const struct identity *id)
{
	const struct line *line = files->lines[id->ino % BUCKETS];
	struct identity found;

	for (; line; line = line->next)
		if (line->ino == id->ino && read_identity(line->at, files->end, &found) &&
		    !memcmp(&found, id, sizeof(found)))
			return recall_line(files, line->at);
	return NULL;
}

const struct known *known_find(struct softsgx_files *files, const struct identity *id)
{
	const struct known *found;
	struct known *old;

	pthread_mutex_lock(&files->lock);
	found = files->known[0][id->ino % BUCKETS];
	while (found && memcmp(&found->id, id, sizeof(*id)))
		found = found->next;
	if (found)
		return found;
	old = take(&files->known[1][id->ino % BUCKETS], id);
	if (old)
		enter(files, old);
	found = old ? old : recall(files, id);
	if (!found)
		known_done(files);
	return found;
}

void known_done(struct softsgx_files *files)
{
	pthread_mutex_unlock(&files->lock);
}

/* ---- what Python says and asks ---- */

static void index_lines(struct softsgx_files *files, const char *text)
{
	const char *at = text, *next, *word;
	struct line *line = malloc(((files->end - text) / 10 + 1) * sizeof(*line));

	/* Ten bytes at least: five numbers and their spaces. */
	for (; line && at < files->end; at = next) {
		uint64_t dev, ino;

		next = (const char *)memchr(at, '\n', files->end - at) + 1;
		word = read_number(at, next, &dev, "  ");
		if (!word || next - at <= 10 || !read_number(word, next, &ino, "  "))
			continue;
		*line = (struct line){files->lines[ino % BUCKETS], ino, at};
		files->lines[ino % BUCKETS] = line++;
	}
}

/* What earlier runs found: whole lines, which must stay.  Never given back: what asks
 * may be late. */
struct softsgx_files *softsgx_files(const char *text, size_t size)
{
	struct softsgx_files *files = calloc(1, sizeof(*files));

	if (!files)
		return NULL;
	pthread_mutex_init(&files->lock, NULL);
	files->end = text + size;
	if (size && files->end[-1] == '\n')
		index_lines(files, text);
	return files;
}

/* Have a file known: its identity's words, rising file offsets. */
long softsgx_know(struct softsgx_files *files, const uint64_t *id, const uint64_t *places,
		  size_t count)
{
	struct known *new;

	pthread_mutex_lock(&files->lock);
	new = add(files, (const struct identity *)id, places, count);
	pthread_mutex_unlock(&files->lock);
	return new ? 0 : -ENOMEM;
}

/* How many CPUIDs a file has, of which up to max are written down; -ENOENT. */
long softsgx_known(struct softsgx_files *files, const uint64_t *id, uint64_t *places,
		   size_t max)
{
	const struct known *found = known_find(files, (const struct identity *)id);
	size_t count;

	if (!found)
		return -ENOENT;
	count = found->count;
	memcpy(places, found->places, (count < max ? count : max) * sizeof(*places));
	known_done(files);
	return (long)count;
}
