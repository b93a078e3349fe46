/* SPDX-License-Identifier: Apache-2.0
 *
 * The command as far as it needs no Python: a run without options, of programs that use
 * no SGX, on a machine of which an earlier run kept the agent's configuration.
 */
#pragma once

#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/types.h>

#include "plain.h"

/* ---- kept.c ---- */

struct text {
	char *at; /* ends with a zero byte; NULL: there is none */
	size_t size;
};
struct text read_at(int directory, const char *name);
/* Whole lines that runner/kept.py keeps under a name. */
struct text read_kept(const char *name);
/* What every program gets; files: NULL if no CPUID is rewritten.  0: nothing holds. */
struct start {
	struct softsgx_image image;
	struct softsgx_files *files;
};
int recall_start(struct start *start);

/* ---- crew.c ---- */

#define MAX_HANDED 128

/* Serve a listener in threads; 0: there can be none. */
int crew_begin(int listener);
/* Readable: Python is to go on. */
extern int crew_over;
/* Serve no more; returns at a moment at which no call is under way. */
void crew_retire(void);
/* Let calls that are under way come to their end, if that is soon. */
void crew_settle(void);
/* Calls that are Python's; how many. */
size_t crew_handed(const struct seccomp_notif **calls);

/* ---- python.c ---- */

/* A program that runs. */
struct run {
	pid_t pid;
	int listener, errors;
	int has_ended, status;
};
/* Is the other script there? */
int has_python(void);
/* Go on as Python, with a run or, NULL, from the beginning. */
void __attribute__((noreturn))
become_python(char **argv, const struct start *start, const struct run *run);
