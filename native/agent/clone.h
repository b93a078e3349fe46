/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#define CLONE_SITES 32		/* places of a program that call clone3 */
#define CLONE_SITE_SIZE 64	/* of the code for each */
#define CLONE_CLEARING 8	/* in it: what children without handlers start with */
#define CLONE_SLOTS 48		/* struct clone_slots */

#ifndef __ASSEMBLER__
HIDDEN void do_clone3(struct frame *f);
/* A signal found the thread in that code: put it where it would be without us. */
HIDDEN void clone_unwind(struct k_sigcontext *mc);

/* ---- actions.c ---- */
HIDDEN void actions_cleared(void);
#endif
