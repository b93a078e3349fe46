/* SPDX-License-Identifier: Apache-2.0 */
/* The processor's structures that a loader or an enclave touches. */
#ifndef HELLO_ARCH_H
#define HELLO_ARCH_H

#include <stddef.h>
#include <stdint.h>

#define PAGE 4096u

enum { EREPORT = 0, EENTER = 2, ERESUME = 3, EEXIT = 4, EACCEPT = 5 };

/* Permissions and page type, as in SECINFO.FLAGS. */
#define SECINFO_R 0x1ull
#define SECINFO_W 0x2ull
#define SECINFO_X 0x4ull
#define SECINFO_PENDING 0x8ull
#define SECINFO_TCS 0x100ull
#define SECINFO_REG 0x200ull

struct secinfo {
	uint64_t flags;
	uint8_t reserved[56];
} __attribute__((aligned(64)));

struct secs {
	uint64_t size;
	uint64_t baseaddr;
	uint32_t ssaframesize;
	uint32_t miscselect;
	uint8_t reserved1[24];
	uint64_t attributes;
	uint64_t xfrm;
	uint8_t mrenclave[32];
	uint8_t reserved2[32];
	uint8_t mrsigner[32];
	uint8_t reserved3[3936];
} __attribute__((aligned(4096)));

struct sigstruct {
	uint8_t header[16];
	uint32_t vendor;
	uint32_t date;
	uint8_t header2[16];
	uint32_t swdefined;
	uint8_t reserved1[84];
	uint8_t modulus[384];
	uint32_t exponent;
	uint8_t signature[384];
	uint32_t miscselect;
	uint32_t miscmask;
	uint8_t reserved2[20];
	uint8_t attributes_and_xfrm[16];
	uint8_t attributemask[16];
	uint8_t enclavehash[32];
	uint8_t reserved3[32];
	uint16_t isvprodid;
	uint16_t isvsvn;
	uint8_t reserved4[12];
	uint8_t q1[384];
	uint8_t q2[384];
} __attribute__((packed));

struct targetinfo {
	uint8_t measurement[32];
	uint64_t attributes;
	uint64_t xfrm;
	uint8_t reserved[464];
} __attribute__((aligned(512)));

struct report {
	uint8_t cpusvn[16];
	uint32_t miscselect;
	uint8_t reserved1[28];
	uint64_t attributes;
	uint64_t xfrm;
	uint8_t mrenclave[32];
	uint8_t reserved2[32];
	uint8_t mrsigner[32];
	uint8_t reserved3[96];
	uint16_t isvprodid;
	uint16_t isvsvn;
	uint8_t reserved4[60];
	uint8_t reportdata[64];
	uint8_t keyid[32];
	uint8_t mac[16];
};

_Static_assert(sizeof(struct secinfo) == 64, "SECINFO");
_Static_assert(sizeof(struct secs) == 4096, "SECS");
_Static_assert(offsetof(struct secs, mrsigner) == 128, "SECS.MRSIGNER");
_Static_assert(sizeof(struct sigstruct) == 1808, "SIGSTRUCT");
_Static_assert(offsetof(struct sigstruct, miscselect) == 900, "MISCSELECT");
_Static_assert(offsetof(struct sigstruct, attributes_and_xfrm) == 928, "ATTRIBUTES");
_Static_assert(offsetof(struct sigstruct, enclavehash) == 960, "ENCLAVEHASH");
_Static_assert(offsetof(struct sigstruct, q1) == 1040, "Q1");
_Static_assert(sizeof(struct targetinfo) == 512, "TARGETINFO");
_Static_assert(sizeof(struct report) == 432, "REPORT");
_Static_assert(offsetof(struct report, reportdata) == 320, "REPORT.REPORTDATA");

#endif
