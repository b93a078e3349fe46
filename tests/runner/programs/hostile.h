/* SPDX-License-Identifier: Apache-2.0 */
/* What the hostile programs share: the agent's private call, made by themselves. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "../../conformance_sgx/host/host.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../../../native/include/gen_abi.h"

/* A call that the filter lets through only from the agent's text: we borrow a
 * `syscall; ret 128` of it, as a program that looks for one can. */
extern long borrowed_call(const uint64_t *words, const void *gadget);
__asm__(".globl borrowed_call\n"
	"borrowed_call:\n"
	"	push %rbx\n"
	"	mov %rdi, %rbx\n"
	"	mov %rsi, %r11\n"
	"	mov (%rbx), %rax\n"
	"	mov 8(%rbx), %rdi\n"
	"	mov 16(%rbx), %rsi\n"
	"	mov 24(%rbx), %rdx\n"
	"	mov 32(%rbx), %r10\n"
	"	mov 40(%rbx), %r8\n"
	"	mov 48(%rbx), %r9\n"
	"	sub $128, %rsp\n"
	"	call *%r11\n"
	"	pop %rbx\n"
	"	ret\n");

static inline const void *find_gadget(void)
{
	static const uint8_t wanted[] = { 0x0f, 0x05, 0xc2, 0x80, 0x00 };

	return memmem((void *)AGENT_BASE, VDSO_OFFSET, wanted, sizeof(wanted));
}

static inline long agent_call(uint64_t call, uint64_t a, uint64_t b, uint64_t c,
			      uint64_t d, uint64_t e)
{
	static const void *gadget;
	const uint64_t words[] = { CALL_NR, call, a, b, c, d, e };

	if (!gadget)
		gadget = find_gadget();
	CHECK(gadget);
	return borrowed_call(words, gadget);
}

/* xorshift: the same numbers for the same seed. */
static uint64_t seed = 1;

static inline uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static inline int open_enclave(void)
{
	int fd = open("/dev/sgx_enclave", O_RDWR);

	CHECK(fd >= 0);
	return fd;
}

#endif
