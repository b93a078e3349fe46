/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HELLO_SHA256_H
#define HELLO_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* The SHA-256 of `length` bytes at `data`, into 32 bytes at `digest`. */
void sha256(const void *data, size_t length, uint8_t digest[32]);

#endif
