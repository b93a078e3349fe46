/* SPDX-License-Identifier: Apache-2.0 */
/* Builds an enclave out of a flat ELF file and its SIGSTRUCT, and enters it. */
#ifndef HELLO_LOAD_H
#define HELLO_LOAD_H

#include <asm/sgx.h>
#include <limits.h>
#include <stdbool.h>

#include "arch.h"

struct enclave {
	int fd;
	bool is_isgx;		/* of /dev/isgx, where there is no /dev/sgx_enclave */
	uint64_t base;		/* of ELRANGE */
	uint64_t size;
	uint64_t tcs;		/* address of the first TCS */
	unsigned int segments;
};

/* These print a line and end the program when the machine refuses. */
struct enclave enclave_load(const char *elf_path, const char *sig_path);
/* The same with an EINITTOKEN of 304 bytes, where the driver takes one; NULL for none. */
struct enclave enclave_load_with(const char *elf_path, const char *sig_path,
				 const void *token);
struct enclave enclave_create(uint64_t size, const struct secs *wanted);
void enclave_add(const struct enclave *enclave, const void *from, uint64_t offset,
		 uint64_t length, uint64_t secinfo_flags, bool measure);
struct sigstruct sigstruct_read(const char *path);

/* The path of a file in the program's own folder. */
const char *beside_us(const char *name, char path[PATH_MAX]);

/* The vDSO's function; ends the program with a line when there is none. */
vdso_sgx_enter_enclave_t vdso_enter_enclave(void);

/*
 * Enters by EENTER with `argument` in RDI.  Returns when the enclave leaves by
 * EEXIT; ends the program with a line when it was stopped by an exception.
 */
void enclave_enter(const struct enclave *enclave, void *argument);

#endif
