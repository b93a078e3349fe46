/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "known.h"
#include "softsgx.h"

/* ---- exec.c ---- */

struct exec {
	int listener;
	uint64_t id;
	pid_t tid, tgid;
	uint64_t data; /* see softsgx_follow_exec */
};
/* The same; *mem becomes its memory, for the caller to close, or stays. */
long follow_exec(const struct exec *e, struct softsgx_start *start, int *mem);

/* ---- inject.c ---- */

/* A process's memory, through its protections; and of one of which a thread waits. */
int open_memory(pid_t pid);
int open_waiting(int listener, uint64_t id, pid_t pid);
/* The byte over those of the addresses at which CPUID stands; the others become 0. */
void rewrite_sites(int mem, uint64_t *addresses, size_t count, uint8_t byte);
/* softsgx_inject in two steps.  The program's own bytes back over the stub, and its
 * CPUIDs rewritten; the agent. */
long write_code(int mem, const struct softsgx_image *image,
		const struct softsgx_start *start, uint64_t *addresses, size_t count);
long write_agent(int listener, uint64_t id, const struct softsgx_image *image,
		 const struct softsgx_start *start, const uint64_t *addresses,
		 size_t count);

/* ---- waiting.c ---- */

#define MAX_WAITING 256

struct waiting {
	struct waiting *next;
	int listener;
	pid_t pid;
	unsigned int users; /* threads that are at its execve or its call */
	int is_done;
	int mem; /* from the stop at its execve until it is done, or -1 */
	struct softsgx_start start;
};

/* One whose execve is about to be followed: its user is the caller. */
struct waiting *waiting_new(int listener, pid_t pid);
/* The newest of a process that stands behind its execve.  It is taken, or there is a
 * user more. */
struct waiting *waiting_of(int listener, pid_t pid, struct softsgx_start *taken);
void waiting_release(struct waiting *w, int is_done);
/* All that stand behind their execve: how many. */
size_t waiting_all(int listener, struct softsgx_start *starts, size_t max);
/* 1 if there is one of a process that lives. */
int any_waiting(int listener);

/* ---- places.c ---- */

#define MAX_NEW_PLACES 1024
#define MAX_SHORTCUTS 64
/* What a jump is to stand for, see shortcut.c. */
struct shortcuts {
	size_t count;
	struct shortcut {
		uint64_t site, stub;
		size_t span; /* bytes; 0 if the place does not tell */
	} at[MAX_SHORTCUTS];
};
struct places {
	size_t count;
	uint64_t at[MAX_NEW_PLACES];
	struct shortcuts shortcuts;
};
/* As known_find. */
const struct known *known_at(struct softsgx_files *files, const char *path,
			     uint64_t inode);
/* Add those of a file's code that is mapped from start on. */
long places_add(struct places *p, const struct known *k, uint64_t start, uint64_t length,
		uint64_t offset);
/* Those in what the kernel mapped at execve: the program and its loader. */
long places_of_program(struct softsgx_files *files, pid_t pid, struct places *p);

/* ---- shortcut.c ---- */

/* In code that was just mapped; mem: the memory of a process of which a thread waits
 * for us. */
void shortcuts_write(int mem, const struct shortcuts *all);
