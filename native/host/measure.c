/* SPDX-License-Identifier: Apache-2.0
 *
 * The twin of softsgx.machine.measurement.lay_out: records and data in one stream.
 */
#include <string.h>

#include "softsgx.h"

#define PAGE 4096
#define CHUNK 256
#define RECORD 64
#define SECINFO 48

/* A tag of eight, an offset, and what else the leaf measures. */
static uint8_t *record(uint8_t *to, const char *tag, uint64_t offset, const uint8_t *rest)
{
	memcpy(to, tag, 8);
	memcpy(to + 8, &offset, 8);
	if (rest)
		memcpy(to + 16, rest, SECINFO);
	else
		memset(to + 16, 0, RECORD - 16);
	return to + RECORD;
}

long softsgx_lay_out(uint8_t *stream, uint64_t offset, const uint8_t *secinfo,
		     const uint8_t *pages, size_t size)
{
	uint8_t *to = stream;

	for (size_t at = 0; at < size; at += CHUNK) {
		if (at % PAGE == 0)
			to = record(to, "EADD\0\0\0", offset + at, secinfo);
		to = record(to, "EEXTEND", offset + at, NULL);
		memcpy(to, pages + at, CHUNK);
		to += CHUNK;
	}
	return to - stream;
}
