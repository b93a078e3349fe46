/* SPDX-License-Identifier: Apache-2.0
 *
 * Words for writing seccomp filters, see seccomp(2).  Both filters begin alike: other
 * architectures pass, and the agent passes, known by where it makes its calls from.
 */
#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include "gen_abi.h"

#define LOAD(field) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define LOAD_LOW(n) LOAD(args[n])
#define LOAD_HIGH(n) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[n]) + 4)
#define IF_EQ(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define IF_GE(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (value), (yes), (no))
#define IF_SET(bits, yes, no) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), (yes), (no))
#define AND(bits) BPF_STMT(BPF_ALU | BPF_AND | BPF_K, (bits))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
#define ALLOW RETURN(SECCOMP_RET_ALLOW)
/* The data tell our traps from those of a filter of the program's. */
#define TRAP_DATA 0x5358
#define TRAP RETURN(SECCOMP_RET_TRAP | TRAP_DATA)
#define NOTIFY RETURN(SECCOMP_RET_USER_NOTIF)

/* Not x86-64: pass.  What only we call, and an execve from the agent's text: agent_call.
 * All else from the agent's text: pass. */
#define FILTER_HEAD(agent_call)                                               \
	LOAD(arch), IF_EQ(AUDIT_ARCH_X86_64, 1, 0), ALLOW,                    \
	LOAD(nr), IF_EQ(CALL_NR, 0, 1), agent_call,                           \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS,                                    \
		 offsetof(struct seccomp_data, instruction_pointer) + 4),     \
	IF_EQ((AGENT_BASE) >> 32, 0, 8),                                      \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS,                                    \
		 offsetof(struct seccomp_data, instruction_pointer)),         \
	IF_GE((AGENT_BASE & 0xffffffff) + VDSO_OFFSET, 6, 0),                 \
	LOAD(nr), IF_EQ(NR_EXECVE, 0, 1), agent_call,                         \
	IF_EQ(LATE_NR, 0, 1), TRAP, ALLOW, LOAD(nr)
#define NR_EXECVE 59
