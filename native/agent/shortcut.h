/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* ---- shortcut.S: system calls about paths that jumped here, with no signal ---- */
extern HIDDEN u8 agent_shortcut[], agent_shortcut_probed[], agent_shortcut_ready[];
extern HIDDEN u8 agent_shortcut_end[];
/* All of them are to trap: for good. */
extern HIDDEN u32 shortcuts_off;

/* ---- shortcut.c ---- */
/* This may be the kernel's mask of a thread. */
HIDDEN void shortcut_mask(u64 mask);
HIDDEN int shortcut_probe(struct frame *f);
HIDDEN int in_shortcut(const struct frame *f);

/* ---- paths.c: which gate a call may go by, NULL if it is to trap ---- */
HIDDEN u8 *path_gate(const struct k_sigcontext *mc);
