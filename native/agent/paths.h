/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths of a program's calls that may lead to files which only a machine with SGX has.
 */
#pragma once

#define PATH_SIZE 256

struct frame;
struct k_sigcontext;

enum likely { NO_VIEW, A_DIRECTORY, A_VIEW };

/* ---- paths.c ---- */
HIDDEN int same_text(const char *a, const char *b);
HIDDEN enum likely likely_at(u64 path);
/* Without the slashes and dots at its end: its length, or 0. */
HIDDEN long copy_path(char *copy, u64 path);
/* What the supervisor says to the call; -NOT_OURS_CODE: the kernel knows it. */
HIDDEN long ask_about_path(const struct k_sigcontext *mc, int opens);

/* ---- workdir.c ---- */
HIDDEN int starts_in_view(u64 directory, u64 path);
HIDDEN long enter_view(long fd);
HIDDEN long open_from_view(u64 path, u64 flags);
HIDDEN long statfs_near(u64 path, u64 buffer);
HIDDEN void do_getcwd(struct frame *f);

/* ---- names.c: 1, the call was theirs ---- */
HIDDEN int naming_call(struct frame *f);
HIDDEN int binding_call(struct frame *f);
