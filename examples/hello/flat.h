/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file format of our enclaves: "flat ELF".
 *
 * A static ELF file linked at address 0: an address is an offset in the
 * enclave.  Every PT_LOAD segment is a run of whole pages, all alike:
 *
 *	R, W, X of p_flags	their SECINFO permissions
 *	FLAT_PF_TCS		they are TCS pages (measured; no permissions)
 *	FLAT_PF_UNMEASURED	EADD without EEXTEND, for heaps
 *	p_filesz < p_memsz	the rest is zeros
 *
 * Both flags lie in the bits that ELF leaves to systems (PF_MASKOS).  Segments
 * are added in the order of the program headers, each in ascending order.
 * What SECS needs besides stands in one note (PT_NOTE).  A size of 0 means the
 * smallest power of two that holds the segments.
 */
#ifndef HELLO_FLAT_H
#define HELLO_FLAT_H

#define FLAT_PF_TCS 0x00100000
#define FLAT_PF_UNMEASURED 0x00200000

#define FLAT_NOTE_NAME "sgx-flat"
#define FLAT_NOTE_TYPE 1
#define FLAT_NOTE_VERSION 1

#ifndef __ASSEMBLER__
#include <stdint.h>

struct flat_note {
	uint32_t version;
	uint32_t ssaframesize;
	uint64_t size;
	uint64_t attributes;
	uint64_t xfrm;
	uint32_t miscselect;
	uint32_t reserved;
};
_Static_assert(sizeof(struct flat_note) == 40, "flat_note");
#endif

#endif
