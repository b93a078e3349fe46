/* SPDX-License-Identifier: Apache-2.0 */
/* What the hosts share: an enclave that is built, and both ways into it. */
#ifndef SGX_HOST_H
#define SGX_HOST_H

#include "../../conformance/programs/check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "../../../examples/hello/load.h"
#include "../enclave/ops.h"

#define PF 14
#define PF_P 1
#define PF_W 2
#define PF_U 4
#define PF_SGX 0x8000

/* An enclave of build.py, in the file beside the program's folder. */
struct enclave host_load(const char *name);
static inline uint64_t host_tcs(const struct enclave *e, unsigned int n)
{
	return e->base + n * PAGE;
}

/* A page of what is spare.  host_fill adds so many, and stores n + 1 in each. */
static inline uint64_t host_spare(const struct enclave *e, uint64_t n)
{
	return e->base + SPARE + n * PAGE;
}
void host_fill(const struct enclave *e, uint64_t tcs, uint64_t pages);

/* Through the vDSO: its return value; the run is zero but for its TCS. */
int vdso_call(uint64_t tcs, uint32_t function, struct op *op,
	      struct sgx_enclave_run *run);
/* The same with the run as it is. */
int vdso_again(uint32_t function, struct op *op, struct sgx_enclave_run *run);
/* The same, where nothing but a good end is expected. */
void vdso_do(uint64_t tcs, struct op *op);
/* One request in short; its result. */
uint64_t vdso_ask(uint64_t tcs, uint64_t what, uint64_t address, uint64_t value,
		  uint64_t size);

int vdso_saved(void *enter, struct op *op, uint32_t function,
	       struct sgx_enclave_run *run);

/* own.S: EENTER with an ENCLU and an AEP that are not the vDSO's.  Returns what EEXIT
 * left in RCX. */
uint64_t own_enter(struct op *op, uint64_t tcs);
extern uint8_t own_site[], own_aep[], own_back[];
/* The same with 16 vectors of 16 or 32 bytes, or 32 of 64, in rows of 64 bytes. */
uint64_t own_enter_vectors(struct op *op, uint64_t tcs, const void *in, void *out,
			   int bytes);
/* The same with these RFLAGS; returns those behind EEXIT. */
uint64_t own_enter_flags(struct op *op, uint64_t tcs, uint64_t rflags);
/* RSP and RBP as they were at the ENCLU of the last own_enter. */
extern uint64_t own_stack[2];

/* own.S: a user_handler that asks own_exit, with RSP as it was at the exit, and enters
 * with own_next as the request if that is more than 0. */
extern int (*own_exit)(uint64_t rsp);
extern struct op *own_next;
extern uint8_t own_handler[];

/* own.S: ERESUME.  It ends where the own_enter that was left ends, on its stack. */
void own_resume(uint64_t tcs) __attribute__((noreturn));

/* Eight bytes of the enclave's frame number n of that TCS, counted in bytes. */
uint64_t frame_load(uint64_t tcs, unsigned int n, uint64_t offset);
void frame_store(uint64_t tcs, unsigned int n, uint64_t offset, uint64_t value);

/* own.S: ENCLU at wild_site with these registers. */
struct wild {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi;
};
uint64_t wild_enclu(const struct wild *regs);
extern uint8_t wild_site[];

/* A thread that runs one request through the vDSO; its result is in the op. */
struct inside {
	pthread_t thread;
	uint64_t tcs;
	struct op op;
};
void inside_start(struct inside *in);	/* returns when the enclave works */
void inside_wait(struct inside *in);

/* The registers that an asynchronous exit shows: RIP and RCX are the AEP, RAX is
 * ERESUME, RBX the TCS, the others zero. */
void check_synthetic(const ucontext_t *uc, uint64_t tcs, const uint8_t *aep);

#endif
