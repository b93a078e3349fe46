/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "known.h"
#include "softsgx.h"

/* ---- waiting.c ---- */

struct waiting {
	struct waiting *next;
	int listener;
	pid_t pid;
	unsigned int users; /* threads that are at its execve or its call */
	int is_done;
	struct softsgx_start start;
};

/* One whose execve is about to be followed: its user is the caller. */
struct waiting *waiting_new(int listener, pid_t pid);
/* The newest of a process that stands behind its execve.  It is taken, or there is a
 * user more. */
struct waiting *waiting_of(int listener, pid_t pid, struct softsgx_start *taken);
void waiting_release(struct waiting *w, int is_done);
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

/* In code that was just mapped, of a process of which a thread waits for us. */
void shortcuts_write(int listener, uint64_t id, pid_t pid, const struct shortcuts *all);
