/* SPDX-License-Identifier: Apache-2.0
 *
 * A program with a small enclave that says so, and waits: for the end of its input.
 */
#include <asm/sgx.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define SIZE (16 * PAGE)

static char secs[PAGE] __attribute__((aligned(PAGE)));
static char page[PAGE] __attribute__((aligned(PAGE)));
static uint64_t secinfo[8] __attribute__((aligned(64))) = {0x203};

static int is_made(int fd, uintptr_t base)
{
	struct sgx_enclave_create create = {.src = (uintptr_t)secs};
	struct sgx_enclave_add_pages add = {
	    .src = (uintptr_t)page, .length = PAGE, .secinfo = (uintptr_t)secinfo};
	const uint64_t attributes[2] = {6, 3}, place[2] = {SIZE, base};
	const uint32_t frame = 1;

	memcpy(secs, place, sizeof(place));
	memcpy(secs + 16, &frame, sizeof(frame));
	memcpy(secs + 48, attributes, sizeof(attributes));
	return !ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &create) &&
	       !ioctl(fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add);
}

int main(void)
{
	int fd = open("/dev/sgx_enclave", O_RDWR);
	char *room = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t base = ((uintptr_t)room + SIZE - 1) & -(uintptr_t)SIZE;
	char end;

	if (fd < 0 || room == MAP_FAILED || !is_made(fd, base) ||
	    mmap((void *)base, SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) ==
		MAP_FAILED) {
		perror("parked");
		return 1;
	}
	if (write(1, "x", 1) != 1)
		return 1;
	return read(0, &end, 1) != 0;
}
