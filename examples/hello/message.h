/* SPDX-License-Identifier: Apache-2.0 */
/* What host and enclave say to each other, in the host's memory. */
#ifndef HELLO_MESSAGE_H
#define HELLO_MESSAGE_H

#include "arch.h"

struct message {
	/* From the host. */
	char name[64];
	/* From the enclave. */
	char answer[128];
	uint64_t visitors;	/* counted inside: the host cannot set it back */
	uint8_t guestbook[32];	/* SHA-256 over all the names so far */
	struct report report;	/* of the enclave itself, over the guest book */
};

#endif
