/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /dev/isgx, the device of Intel's driver outside of Linux: on processors whose launch
 * key is Intel's for good it is the only one.  An enclave there is a mapping, and INIT
 * wants a launch token.
 */
#ifndef HELLO_ISGX_H
#define HELLO_ISGX_H

#include "load.h"

#define ISGX_DEVICE "/dev/isgx"

struct isgx_create {
	uint64_t src;
};

struct isgx_add_page {
	uint64_t addr;
	uint64_t src;
	uint64_t secinfo;
	uint16_t mrmask;	/* a bit for each 256 bytes that are to be measured */
} __attribute__((packed));

struct isgx_init {
	uint64_t addr;
	uint64_t sigstruct;
	uint64_t einittoken;
};

#define ISGX_IOC_CREATE _IOW(SGX_MAGIC, 0x00, struct isgx_create)
#define ISGX_IOC_ADD_PAGE _IOW(SGX_MAGIC, 0x01, struct isgx_add_page)
#define ISGX_IOC_INIT _IOW(SGX_MAGIC, 0x02, struct isgx_init)

/* Like those of load.h; the SECS has all but its place. */
void isgx_create(struct enclave *enclave, struct secs *secs);
void isgx_add(const struct enclave *enclave, const void *from, uint64_t offset,
	      uint64_t length, const struct secinfo *secinfo, bool measure);
/* What INIT returned: 0, -1 with errno, or an error code of EINIT. */
int isgx_init(const struct enclave *enclave, const struct sigstruct *sig,
	      const void *token);

#endif
