/* SPDX-License-Identifier: Apache-2.0 */
/* What the host asks of the enclave, in the host's memory. */
#ifndef BENCH_OP_H
#define BENCH_OP_H

#include <stdint.h>

enum { OP_NOTHING, OP_EACCEPT, OP_SHA256, OP_TOUCH };

struct op {
	uint64_t what;
	uint64_t address;	/* OP_EACCEPT, OP_TOUCH: of the first page */
	uint64_t count;		/* pages; or buffers of BUFFER_SIZE to hash */
	uint64_t step;		/* OP_TOUCH: pages from one to the next; has no factor
				 * in common with their number */
	uint64_t result;	/* 0, or what the last leaf left in RAX */
};

#define BUFFER_SIZE 65536u

#endif
