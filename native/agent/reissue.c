/* SPDX-License-Identifier: Apache-2.0
 *
 * System calls that were trapped but are not ours: made again from the agent's text,
 * outside the handler, so that they block, restart and are interrupted as always.
 */
#include "agent.h"

#define SYSCALL_SIZE 2
#define RELOAD_SIZE 5		/* mov 8(%rsp), %reg */

/* Calls of threads that step through themselves: the trap that the processor has for the
 * instruction behind SYSCALL comes at our return already. */
static struct {
	u32 tid;
	u64 rip;
} stepped[8];

void note_stepped(const struct k_sigcontext *mc)
{
	u32 tid = (u32)sys(NR_gettid, 0), none = 0;

	if (!(mc->rflags & RFLAGS_TF))
		return;
	for (u64 i = 0; i < ARRAY_SIZE(stepped); i++, none = 0) {
		if (!__atomic_compare_exchange_n(&stepped[i].tid, &none, tid, 0,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED) &&
		    none != tid)
			continue;
		stepped[i].rip = mc->rip;
		return;
	}
}

int reissue_stepped(const struct k_sigcontext *mc)
{
	u32 tid = (u32)sys(NR_gettid, 0);

	for (u64 i = 0; i < ARRAY_SIZE(stepped); i++) {
		if (stepped[i].tid != tid || stepped[i].rip != mc->rip)
			continue;
		__atomic_store_n(&stepped[i].tid, 0, __ATOMIC_RELEASE);
		return 1;
	}
	return 0;
}

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
	note_stepped(mc);
	mc->rsp = to;
	mc->rip = (u64)agent_reissue;
}

/* What the gates of paths find on the stack. */
struct path_slots {
	u64 rip, nr, rdi, rsi, rdx, r10;
};
_Static_assert(sizeof(struct path_slots) == 48, "see entry.S");

/* The same for a call about a path: `path_not_found` hears of it. */
void reissue_path(struct frame *f, int has_directory)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct path_slots slots = {mc->rip, mc->rax, mc->rdi, mc->rsi, mc->rdx, mc->r10};
	u64 to = mc->rsp - REDZONE - sizeof(slots);

	if (agent_copy((void *)to, &slots, sizeof(slots))) {
		reissue(f);
		return;
	}
	note_stepped(mc);
	mc->rsp = to;
	mc->rip = (u64)(has_directory ? agent_reissue_at : agent_reissue_path);
}

/* Leave a gate of paths for where the program's call was trapped. */
static int path_leave(struct k_sigcontext *mc)
{
	struct path_slots slots;

	if (agent_copy(&slots, (void *)mc->rsp, sizeof(slots)))
		return 0;
	mc->rip = slots.rip;
	mc->rsp += REDZONE + sizeof(slots);
	mc->rax = slots.nr;
	mc->rdi = slots.rdi;
	mc->rsi = slots.rsi;
	mc->rdx = slots.rdx;
	mc->r10 = slots.r10;
	return 1;
}

/* The gate told that there is no such path. */
int reissue_late(struct frame *f)
{
	if (f->uc->mc.rip != (u64)agent_reissue_end || !path_leave(&f->uc->mc))
		return 0;
	path_not_found(f);
	return 1;
}

/* The same with one argument replaced by a pointer to size bytes of ours. */
void reissue_with(struct frame *f, u64 *reg, u8 *gate, const void *data, u64 size)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 slots[2] = {mc->rip, *reg};
	u64 to = mc->rsp - REDZONE - sizeof(slots);

	if (agent_copy((void *)to, slots, sizeof(slots)) ||
	    agent_copy((void *)(to - size), data, size)) {
		mc->rax = (u64)-EFAULT_;
		return;
	}
	note_stepped(mc);
	*reg = to - size;
	mc->rsp = to;
	mc->rip = (u64)gate;
}

/* Calls that wait under a mask of the program's: the fault signals stay unblocked. */
void reissue_masked(struct frame *f, u64 *reg, u8 *gate)
{
	u64 mask;

	if (!*reg || agent_copy(&mask, (void *)*reg, 8) ||
	    mask == masks_real(mask)) {
		reissue(f);
		return;
	}
	mask = masks_real(mask);
	reissue_with(f, reg, gate, &mask, 8);
}

void reissue_pselect(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 arg[3]; /* pointer to the mask, its size; then the mask itself */

	if (!mc->r9 || agent_copy(arg, (void *)mc->r9, 16) || !arg[0] ||
	    agent_copy(&arg[2], (void *)arg[0], 8) ||
	    arg[2] == masks_real(arg[2])) {
		reissue(f);
		return;
	}
	arg[2] = masks_real(arg[2]);
	arg[0] = mc->rsp - REDZONE - 16 - 8;
	reissue_with(f, &mc->r9, agent_reissue_r9, arg, sizeof(arg));
}

/* A wait that the agent looks at when it ends; the slot keeps which one it is. */
void reissue_wait(struct frame *f)
{
	u64 nr = f->uc->mc.rax;

	reissue_with(f, &nr, agent_reissue_wait, 0, 0);
}

/* ---- interrupted ---- */

struct gate {
	u8 *start;
	u64 *reg; /* the register that it lends, NULL for none */
};

static const struct gate *gate_at(u64 rip, struct k_sigcontext *mc, struct gate *gate)
{
	const struct gate gates[] = {{agent_reissue_rdi, &mc->rdi},
				     {agent_reissue_rsi, &mc->rsi},
				     {agent_reissue_rdx, &mc->rdx},
				     {agent_reissue_r10, &mc->r10},
				     {agent_reissue_r8, &mc->r8},
				     {agent_reissue_r9, &mc->r9}};

	*gate = (struct gate){agent_reissue, 0};
	for (u64 i = 0; i < ARRAY_SIZE(gates); i++)
		if (rip >= (u64)gates[i].start && gates[i].start > gate->start)
			*gate = gates[i];
	return gate;
}

/* In a gate of paths: one that was not found is looked for once more. */
static void path_unwind(struct k_sigcontext *mc)
{
	u64 rip = mc->rip, result = mc->rax;

	if (!path_leave(mc))
		return;
	if (rip == (u64)agent_reissue_path || rip == (u64)agent_reissue_at ||
	    rip >= (u64)agent_reissue_look || (s64)result == -ENOENT_)
		mc->rip -= SYSCALL_SIZE;
	else
		mc->rax = result;
}

/* A signal found the thread in a gate: put it where it would be without us, at the
 * program's SYSCALL, to be made once more, or behind it.  Programs look (musl does, to
 * see whether a cancelled thread is still before its call). */
void reissue_unwind(struct k_sigcontext *mc)
{
	u64 rip = mc->rip, slots[2];
	const struct gate *gate;
	struct gate found;

	if (rip == (u64)agent_reissue_wait && !agent_copy(slots, (void *)mc->rsp, 8)) {
		mc->rip = slots[0] - SYSCALL_SIZE;
		mc->rsp += REDZONE + sizeof(slots);
	}
	if (rip < (u64)agent_reissue || rip >= (u64)agent_reissue_end)
		return;
	if (rip >= (u64)agent_reissue_path) {
		path_unwind(mc);
		return;
	}
	if (agent_copy(slots, (void *)mc->rsp, sizeof(slots)))
		return;
	gate = gate_at(rip, mc, &found);
	mc->rip = slots[0];
	if (rip == (u64)gate->start)
		mc->rip -= SYSCALL_SIZE;
	mc->rsp += REDZONE + 8;
	if (!gate->reg)
		return;
	mc->rsp += 8;
	if (rip < (u64)gate->start + SYSCALL_SIZE + RELOAD_SIZE)
		*gate->reg = slots[1];
}
