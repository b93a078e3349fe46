/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_CMAC_H
#define LAUNCH_CMAC_H

#include <stddef.h>
#include <stdint.h>

/* AES-CMAC of RFC 4493 under a key of 128 bits; `blocks` of 16 bytes, one at least. */
void cmac(const uint8_t key[16], const void *data, size_t blocks, uint8_t mac[16]);

#endif
