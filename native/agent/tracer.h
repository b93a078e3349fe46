/* SPDX-License-Identifier: Apache-2.0
 *
 * Between tracer.c and tracee.c: ptrace(2) in numbers, and what a stopped tracee shows.
 */
#pragma once

#include "agent.h"

enum { PTRACE_TRACEME_ = 0, PTRACE_PEEKTEXT_ = 1, PTRACE_PEEKDATA_ = 2, PTRACE_PEEKUSER_ = 3,
       PTRACE_POKETEXT_ = 4, PTRACE_POKEDATA_ = 5, PTRACE_CONT_ = 7, PTRACE_SINGLESTEP_ = 9, PTRACE_DETACH_ = 17,
       PTRACE_SYSCALL_ = 24, PTRACE_SYSEMU_ = 31, PTRACE_SYSEMU_SINGLESTEP_ = 32,
       PTRACE_SINGLEBLOCK_ = 33, PTRACE_GETSIGINFO_ = 0x4202, PTRACE_SETSIGINFO_ = 0x4203 };
enum { EVENT_EXEC = 4, SI_QUEUE_ = -1, TRAP_BRKPT_ = 1 };

#define USER_FS_BASE (21 * 8)

HIDDEN int tracee_told(u64 pid, struct k_siginfo *info);
HIDDEN u64 tracee_rip(u64 pid);
HIDDEN int tracee_has_agent(u64 pid);
/* The host's FS base of a thread that is inside an enclave; 0: it is not. */
HIDDEN int tracee_host_fs(u64 pid, u64 *base);
/* A word there may lie in an enclave's mapping. */
HIDDEN int tracee_near_enclave(u64 pid, u64 address);
/* The address is in an enclave that is not for debugging. */
HIDDEN int tracee_is_opaque(u64 pid, u64 address);
/* A stop that the agent of the tracee made, at the end of a visit or at the start. */
HIDDEN int tracee_stopped_for_us(const struct k_siginfo *info);
/* A signal that the agent of the tracee lives on, and no program ever saw. */
HIDDEN int tracee_signal_is_ours(u64 pid, const struct k_siginfo *info);
