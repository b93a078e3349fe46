/* SPDX-License-Identifier: Apache-2.0
 *
 * Instructions on extended state that XFRM limits: see narrow.c.
 */
#pragma once

struct frame;

/* What a thread had before it took one. */
struct detour {
	u64 rip, next, rax, rdx, rdi, xfrm, faulted;
};

HIDDEN int state_site(struct frame *f);
HIDDEN int state_ended(struct frame *f);
HIDDEN int in_state_stub(u64 rip);
