/* SPDX-License-Identifier: Apache-2.0
 *
 * The supervisor's native part: system calls that Python has no words for.  Every
 * function returns a negative errno on failure; all decisions are Python's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define API __attribute__((visibility("default")))

/* vm.c: the memory of another process. */
API long softsgx_read(pid_t pid, uint64_t from, void *to, size_t size);
API long softsgx_write(pid_t pid, uint64_t to, const void *from, size_t size);
API long softsgx_copy_pages(pid_t pid, uint64_t from, uint8_t *to, size_t size);

/* Breakpoints over those of the addresses at which CPUID stands; the others become 0. */
API long softsgx_rewrite_cpuid(pid_t pid, uint64_t *addresses, size_t count);
API long softsgx_poke(pid_t pid, uint64_t address, uint8_t byte);
API long softsgx_xcr0(void);
API long softsgx_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *regs);
API long softsgx_same_memory(pid_t a, pid_t b);

/* measure.c: pages as the hash wants them; returns the bytes of the stream. */
API long softsgx_lay_out(uint8_t *stream, uint64_t offset, const uint8_t *secinfo,
			 const uint8_t *pages, size_t size);

/* launch.c: start the first process under the filter. */
API long softsgx_launch(const char *path, char *const argv[], char *const envp[],
			int *listener);

/* exec.c: take a process over at the end of its execve, and let it go again. */
struct softsgx_image {
	const uint8_t *agent, *vdso, *config;
	uint64_t agent_size, vdso_size, config_size;
	uint64_t start, data; /* absolute addresses */
	uint64_t vdso_slots; /* offset in the vDSO image */
	uint64_t blocked;    /* signals, by the agent that was there before */
};
API long softsgx_follow_exec(int listener, uint64_t id, pid_t tid, pid_t tgid);
API long softsgx_inject(pid_t pid, const struct softsgx_image *image);
API long softsgx_detach(pid_t pid);
/* The main child's wait status, if follow_exec or wait_child met it; else -1. */
API long softsgx_wait_child(pid_t pid);
API long softsgx_kill_traced(pid_t pid);
