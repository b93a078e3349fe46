/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "isgx.h"

#include <err.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* The driver aligns the mapping to its length. */
void isgx_create(struct enclave *enclave, struct secs *secs)
{
	struct isgx_create create = { .src = (uint64_t)secs };
	void *range = mmap(NULL, enclave->size, PROT_NONE, MAP_SHARED, enclave->fd, 0);

	if (range == MAP_FAILED)
		err(1, "mmap of " ISGX_DEVICE);
	enclave->base = secs->baseaddr = (uint64_t)range;
	if (ioctl(enclave->fd, ISGX_IOC_CREATE, &create))
		err(1, "SGX_IOC_ENCLAVE_CREATE of " ISGX_DEVICE);
}

void isgx_add(const struct enclave *enclave, const void *from, uint64_t offset,
	      uint64_t length, const struct secinfo *secinfo, bool measure)
{
	for (uint64_t done = 0; done < length; done += PAGE) {
		struct isgx_add_page add = {
			.addr = enclave->base + offset + done,
			.src = (uint64_t)from + done,
			.secinfo = (uint64_t)secinfo,
			.mrmask = measure ? 0xffff : 0,
		};

		if (ioctl(enclave->fd, ISGX_IOC_ADD_PAGE, &add))
			err(1, "SGX_IOC_ENCLAVE_ADD_PAGE at %#llx",
			    (unsigned long long)(offset + done));
	}
}

int isgx_init(const struct enclave *enclave, const struct sigstruct *sig,
	      const void *token)
{
	static const uint8_t none[304];
	struct isgx_init init = {
		.addr = enclave->base,
		.sigstruct = (uint64_t)sig,
		.einittoken = (uint64_t)(token ? token : none),
	};

	return ioctl(enclave->fd, ISGX_IOC_INIT, &init);
}
