/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "softsgx.h"

/* Another file, or another content, has another one. */
struct identity {
	uint64_t dev, ino, mtime, ctime, size;
};

struct known {
	struct identity id;
	struct known *next;
	size_t count;
	uint64_t places[]; /* file offsets of CPUIDs, rising; then shortcuts */
};

void identity_of(const struct stat *st, struct identity *id);
/* NULL: it is not known what is in that file.  What is found stays until known_done;
 * nobody else can ask meanwhile. */
const struct known *known_find(struct softsgx_files *files, const struct identity *id);
void known_done(struct softsgx_files *files);
