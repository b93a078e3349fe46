/* SPDX-License-Identifier: Apache-2.0
 *
 * System calls that are made again from the agent's text, outside the handler, so that
 * they block, restart and are interrupted as they always were.
 */
#include "agent.h"

#define REDZONE 128

/* Let the program make its call from our text; see agent_reissue in entry.S. */
void reissue(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 to = mc->rsp - REDZONE - 8;

	if (agent_copy((void *)to, &mc->rip, 8)) {
		mc->rax = (u64)syscall6((long)mc->rax, mc->rdi, mc->rsi, mc->rdx, mc->r10,
					mc->r8, mc->r9);
		return;
	}
	mc->rsp = to;
	mc->rip = (u64)agent_reissue;
}

/* The same with one argument replaced by a pointer to size bytes of ours. */
static void reissue_with(struct frame *f, u64 *reg, u8 *gate, const void *data, u64 size)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 slots[2] = {mc->rip, *reg};
	u64 to = mc->rsp - REDZONE - sizeof(slots);

	if (agent_copy((void *)to, slots, sizeof(slots)) ||
	    agent_copy((void *)(to - size), data, size)) {
		mc->rax = (u64)-EFAULT_;
		return;
	}
	*reg = to - size;
	mc->rsp = to;
	mc->rip = (u64)gate;
}

/* Calls that wait under a mask of the program's: the fault signals stay unblocked. */
void reissue_masked(struct frame *f, u64 *reg, u8 *gate)
{
	u64 mask;

	if (!*reg || agent_copy(&mask, (void *)*reg, 8) ||
	    mask == signals_unblocked(mask)) {
		reissue(f);
		return;
	}
	mask = signals_unblocked(mask);
	reissue_with(f, reg, gate, &mask, 8);
}

void reissue_pselect(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 arg[3]; /* pointer to the mask, its size; then the mask itself */

	if (!mc->r9 || agent_copy(arg, (void *)mc->r9, 16) || !arg[0] ||
	    agent_copy(&arg[2], (void *)arg[0], 8) ||
	    arg[2] == signals_unblocked(arg[2])) {
		reissue(f);
		return;
	}
	arg[2] = signals_unblocked(arg[2]);
	arg[0] = mc->rsp - REDZONE - 16 - 8;
	reissue_with(f, &mc->r9, agent_reissue_r9, arg, sizeof(arg));
}
