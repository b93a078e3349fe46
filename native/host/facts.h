/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "softsgx.h"

#define MAX_KEY 80

/* What a run without options begins with; the texts are parts of one line.  config and
 * root have two digits a byte; files, what kept lines tell of code whose CPUIDs are
 * rewritten, if they are, under that name. */
struct softsgx_kept {
	const char *config, *files, *places, *root, *ours;
	size_t config_size, files_size, places_size, root_size, ours_size;
	uint64_t data, slots; /* of the image */
};

/* 1 if lines have something for the checker at path, and it holds. */
API long softsgx_recall(const char *path, const char *lines, size_t size,
			struct softsgx_kept *kept);
/* The number that must stand before a word for it to hold; 0: it is none. */
API uint64_t softsgx_number_of(const char *word, size_t size);
/* The key of a checker's lines, with a space; key has room for MAX_KEY. */
API long softsgx_checker(const char *path, char *key);
/* How many bytes a text of digits stood for. */
long softsgx_unhex(const char *at, size_t size, void *to);
