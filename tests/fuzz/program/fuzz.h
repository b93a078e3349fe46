/* SPDX-License-Identifier: Apache-2.0 */
/* The fuzzer: random ENCLU, ioctls, mappings, signals and processes. */
#ifndef FUZZ_H
#define FUZZ_H

#include "../../conformance_sgx/host/host.h"

#include "../../../native/include/gen_abi.h"

#include <setjmp.h>
#include <stdbool.h>

/* What a process of the fuzzer knows; every thread of it uses and breaks the same. */
struct victim {
	struct enclave e;
	int fds[8];
	uint8_t *arena;		/* memory that may be lost */
	bool forges;		/* calls the supervisor itself, at the agent's expense */
};
#define ARENA (16 * PAGE)

extern struct victim victim;
extern __thread sigjmp_buf after;
extern __thread volatile int armed, endless;

/* values.c: what arguments are made of. */
uint64_t roll(uint64_t sides);
uint64_t value(void);		/* anything */
uint64_t enclave_value(void);	/* an address in or near the enclave */
uint64_t tcs_value(void);
int fd_value(void);

/* Each does one thing; a signal may end it by a jump to `after`. */
typedef void act(void);
act act_enclu, act_vdso, act_raw_entry, act_own_leaf;
act act_ioctl, act_map, act_protect, act_unmap, act_files, act_source;
act act_raise, act_masks, act_stack, act_timer, act_thread;
act act_fork, act_exec, act_limits, act_filter, act_forge;

/* Do so many random things, whatever comes of them. */
void act_often(unsigned int times);
/* A thread's own: signal stack, timer, random numbers. */
void thread_begin(uint64_t number);
void handlers_install(void);

#endif
