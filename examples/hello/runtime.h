/* SPDX-License-Identifier: Apache-2.0 */
/* What every enclave of ours needs and no library gives it. */
#ifndef HELLO_RUNTIME_H
#define HELLO_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Called by entry.S with whatever the host put in RDI. */
void enclave_main(void *argument);

/*
 * True if `length` bytes at `start` lie wholly outside the enclave.  A pointer
 * from the host that fails this is an attempt to make us write over ourselves.
 */
bool is_outside(const void *start, size_t length);

/* For what the compiler makes of assignments, and for us. */
void *memcpy(void *to, const void *from, size_t length);
void *memset(void *to, int byte, size_t length);

#endif
