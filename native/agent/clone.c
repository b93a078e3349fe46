/* SPDX-License-Identifier: Apache-2.0
 *
 * clone3 with CLONE_CLEAR_SIGHAND: the child has no handlers, but the agent needs its own.
 * Libraries make every posix_spawn that way.
 */
#include "agent.h"
#include "clone.h"

#define CLEAR_SIGHAND 0x100000000ul
#define SYSCALL_SIZE 2

struct clone_slots {
	u64 rip, rdi, rsi, rdx, r10, mask;
};
_Static_assert(sizeof(struct clone_slots) == CLONE_SLOTS, "see clone.S");

extern HIDDEN u8 agent_clone[], agent_clone_end[], agent_cloned_back[], agent_cloned_end[];
HIDDEN u64 clone_sites[CLONE_SITES]; /* where each goes on */

/* The code for the place that goes on there; NULL if there are too many of them. */
static u8 *code_for(u64 rip)
{
	u64 none;

	for (u64 i = 0; i < CLONE_SITES; i++) {
		none = 0;
		if (__atomic_compare_exchange_n(&clone_sites[i], &none, rip, 0,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED) ||
		    none == rip)
			return agent_clone + i * CLONE_SITE_SIZE;
	}
	return 0;
}

void do_clone3(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 flags = 0; /* of a structure that cannot be read: the kernel tells */
	u8 *code = code_for(mc->rip);

	agent_copy(&flags, (void *)mc->rdi, sizeof(flags));
	if (!code) {
		mc->rax = (u64)-ENOSYS_;
		return;
	}
	note_stepped(mc);
	mc->rip = (u64)code + (flags & CLEAR_SIGHAND ? CLONE_CLEARING : 0);
}

/* In the child, on the program's stack: its mask, while all signals are blocked. */
__attribute__((used)) HIDDEN u64 clone_cleared(void)
{
	u64 all = ~0ul, mask = 0;

	sys(NR_rt_sigprocmask, 0, &all, &mask, 8);
	actions_cleared();
	return mask;
}

static void unwind_child(struct k_sigcontext *mc)
{
	struct clone_slots slots;

	if (agent_copy(&slots, (void *)mc->rsp, sizeof(slots)))
		return;
	mc->rax = 0;
	mc->rip = slots.rip;
	mc->rdi = slots.rdi;
	mc->rsi = slots.rsi;
	mc->rdx = slots.rdx;
	mc->r10 = slots.r10;
	mc->rsp += REDZONE + sizeof(slots);
}

void clone_unwind(struct k_sigcontext *mc)
{
	u64 at = mc->rip - (u64)agent_clone, in = at % CLONE_SITE_SIZE;

	if (mc->rip >= (u64)agent_cloned_back && mc->rip < (u64)agent_cloned_end)
		unwind_child(mc);
	else if (at < (u64)(agent_clone_end - agent_clone))
		mc->rip = clone_sites[at / CLONE_SITE_SIZE] -
			  (in == 0 || in == CLONE_CLEARING ? SYSCALL_SIZE : 0);
}
