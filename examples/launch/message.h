/* SPDX-License-Identifier: Apache-2.0 */
/* What the launch enclave is asked, and what it answers. */
#ifndef LAUNCH_MESSAGE_H
#define LAUNCH_MESSAGE_H

#include "../hello/arch.h"

#define ATTRIBUTE_PROVISIONKEY 0x10ull
#define ATTRIBUTE_EINITTOKENKEY 0x20ull

/* EINITTOKEN: the MAC is over what comes before CPUSVNLE. */
struct token {
	uint32_t valid;
	uint8_t reserved1[44];
	uint64_t attributes;
	uint64_t xfrm;
	uint8_t mrenclave[32];
	uint8_t reserved2[32];
	uint8_t mrsigner[32];
	uint8_t reserved3[32];
	uint8_t cpusvnle[16];
	uint16_t isvprodidle;
	uint16_t isvsvnle;
	uint8_t reserved4[24];
	uint32_t maskedmiscselectle;
	uint64_t maskedattributesle;
	uint64_t maskedxfrmle;
	uint8_t keyid[32];
	uint8_t mac[16];
} __attribute__((aligned(16)));
_Static_assert(sizeof(struct token) == 304, "EINITTOKEN");
_Static_assert(offsetof(struct token, mrsigner) == 128, "EINITTOKEN.MRSIGNER");
_Static_assert(offsetof(struct token, cpusvnle) == 192, "EINITTOKEN.CPUSVNLE");
_Static_assert(offsetof(struct token, maskedmiscselectle) == 236, "MASKEDMISCSELECTLE");
_Static_assert(offsetof(struct token, keyid) == 256, "EINITTOKEN.KEYID");

enum verdict {
	VERDICT_NONE,		/* the enclave did not get that far */
	VERDICT_TOKEN,
	VERDICT_NOT_LISTED,
	VERDICT_NO_PROVISIONKEY,
	VERDICT_NO_EINITTOKENKEY,
	VERDICT_NO_RANDOM,	/* the processor gave no random number; ask again */
	VERDICT_NO_KEY,		/* EGETKEY failed: this is no launch enclave */
};

/* The enclave that is to launch. */
struct wanted {
	uint8_t mrenclave[32];
	uint8_t mrsigner[32];
	uint64_t attributes;
	uint64_t xfrm;
};

struct message {
	struct wanted wanted;	/* from the host */
	uint64_t verdict;	/* from the enclave, as all that follows */
	struct token token;
};

#endif
