/* SPDX-License-Identifier: Apache-2.0 */
/* What a host asks of the enclave.  The request lies in the host's memory, and the
 * enclave trusts it: these enclaves have nothing to hide. */
#ifndef SGX_OPS_H
#define SGX_OPS_H

/* Layout of the enclave; entry.S builds it. */
#define THREADS 20
#define FRAMES 3		/* NSSA of every TCS but the last, which has one */
#define STACK 0x2000
#define AREA 0xb000		/* SSA frames, FS page, GS page, a stack for each CSSA */
#define AREA_FS 0x3000
#define AREA_GS 0x4000
#define AREA_NOTIFIED 0x3ff8	/* counts AEX notifications */
#define AREA_STACKS 0x5000
#define ENCLAVE_SIZE 0x400000
#define SPARE 0x200000		/* nothing is here until the host maps it */

#define OP_STOP 0
#define OP_STARTED 8
#define HELD 0x5a5a		/* RCX at an instruction of forbidden.S */
#define STATE_FLAGS 128
#define STATE_VECTORS 256

#ifndef __ASSEMBLER__
#include <stddef.h>
#include <stdint.h>

enum what {
	DO_NOTHING,
	DO_READ,	/* result = byte at address */
	DO_WRITE,	/* byte at address = value */
	DO_CALL,	/* call address */
	DO_ENCLU,	/* leaf value, SECINFO.FLAGS size, target address */
	DO_COPY,	/* EACCEPTCOPY of page value to address, SECINFO.FLAGS size */
	DO_DIVIDE,	/* #DE */
	DO_UNDEFINED,	/* #UD */
	DO_BREAK,	/* #BP */
	DO_PROTECTED,	/* #GP */
	DO_SPIN,	/* hold state until stop; result = 1 if it was all there at the end */
	DO_COUNT,	/* count until stop; result = the count */
	DO_FRAME,	/* data = GPRSGX of the frame that was interrupted */
	DO_SKIP,	/* its RIP += value */
	DO_BASES,	/* data = FS base, GS base, as loads through them see it; RFLAGS */
	DO_REPORT,	/* data = REPORT for the TARGETINFO in data, REPORTDATA of value */
	DO_KEY,		/* data = key for the KEYREQUEST in data; result = RAX */
	DO_MEET,	/* add 1 to the word at address, wait until it is value */
	DO_TCS,		/* write a TCS page at address: entry, frames of thread value */
	DO_FORBIDDEN,	/* the value-th of forbidden.S; result = 1 if it ran;
			 * data = struct stub, before */
	DO_CPUID,	/* CPUID value times: leaves address on, sub-leaf size; data =
			 * EAX, EBX, ECX, EDX each */
	DO_EMULATE,	/* step over the CPUID that was interrupted: EAX = leaf + 1,
			 * EBX = sub-leaf + 2, ECX = 3, EDX = 4; result = 1 if it was one */
	DO_REDIRECT,	/* have the interrupted thread do DO_EMULATE's work itself; result
			 * = how often such a thread found a CPUID */
	DO_LOOKALIKE,	/* data = bytes in the code that are none; result = their number */
	DO_TIME,	/* RDTSC, or with value 1 RDTSCP; result = 1 if time went on */
	DO_LOAD,	/* result = 8 bytes at address */
	DO_STORE,	/* 8 bytes at address = value */
	DO_AREA,	/* result = address of the thread's area: its frames come first */
	DO_LOWER,	/* result = the host's RSP, which EEXIT lowers by value */
	DO_ENTRY,	/* result = address of the entry point */
	DO_NOTIFY,	/* DO_SPIN, with the first frame's AEXNOTIFY = value */
	DO_X87,		/* #MF */
	DO_SSE,		/* #XM */
	DO_STACK,	/* #SS */
	DO_MISALIGNED,	/* #AC */
	DO_OWN_BASES,	/* FS and GS base = address and value, until stop; result = 1 if held */
	DO_SET_TF,	/* POPF with TF; result = the TF that PUSHF then sees */
	DO_LEAF,	/* ENCLU with RAX, RBX, RCX, RDX of data; result = RAX */
	DO_STATE,	/* the size-th of state_ops.S, with area address and mask value;
			 * result = EDX:EAX behind it */
	DO_WATCH,	/* read the 8 bytes at address until stop; result = one that was
			 * neither value nor from 1 to size, or value */
};

struct op {
	volatile uint64_t stop, started;
	uint64_t what, address, value, size;
	uint64_t result, flags;
	uint8_t data[1024];
};
_Static_assert(offsetof(struct op, stop) == OP_STOP, "stop");
_Static_assert(offsetof(struct op, started) == OP_STARTED, "started");

/* An instruction inside that is expected to fault. */
struct stub {
	uint64_t address, size;
};

/* What DO_SPIN loads and finds again; RSP, RDI and RCX have work of their own. */
struct state {
	uint64_t gpr[16], rflags, pad[15];
	uint8_t vector[32][64];
} __attribute__((aligned(64)));
_Static_assert(offsetof(struct state, rflags) == STATE_FLAGS, "rflags");
_Static_assert(offsetof(struct state, vector) == STATE_VECTORS, "vector");
#endif

#endif
