/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* ---- shortcut.S: what jumped here, with no signal ---- */
extern HIDDEN u8 agent_shortcut[], agent_shortcut_probed[], agent_shortcut_done[];
extern HIDDEN u8 agent_cpuid[], agent_cpuid_probed[];
/* Calls about paths are to trap: for good. */
extern HIDDEN u32 shortcuts_off;

/* ---- shortcut.c ---- */
/* This may be the kernel's mask of a thread. */
HIDDEN void shortcut_mask(u64 mask);
/* 1: the stack ended there. */
HIDDEN int shortcut_probe(struct frame *f);
/* Not a fault of ours: the signal is the program's. */
HIDDEN int sent_in_shortcut(const struct frame *f);

/* ---- paths.c: which gate a call may go by, or that it is done; NULL if it is to trap ---- */
HIDDEN u8 *path_gate(struct k_sigcontext *mc);
/* ---- actions.c: the same of rt_sigaction, also where a copy must not fault ---- */
HIDDEN u8 *action_gate(const struct k_sigcontext *mc, int may_fault);
