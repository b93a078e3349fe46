/* SPDX-License-Identifier: Apache-2.0
 *
 * What a shortcut decides, and what becomes of signals that find a thread on it.
 */
#include "agent.h"
#include "shortcut.h"

#define SYSCALL_SIZE 2
#define CPUID_SIZE 2
#define COPY_FAULTS (SIGBIT(SIGSEGV) | SIGBIT(SIGBUS))

HIDDEN u32 shortcuts_off;
static u32 may_block;	/* a thread's mask may hold those of our copies */

void shortcut_mask(u64 mask)
{
	if (mask & COPY_FAULTS)
		may_block = 1;
}

/* The kernel ends a thread whose copy faults while the signal is blocked. */
static int may_copy(void)
{
	u64 mask = 0;

	if (may_block)
		sys(NR_rt_sigprocmask, 0, 0, &mask, 8);
	return !(mask & COPY_FAULTS);
}

/* Which gate a call goes by, NULL if it is to trap; of mc there are the call's number, or
 * what came of it, and its arguments. */
__attribute__((used)) HIDDEN u8 *shortcut_gate(struct k_sigcontext *mc)
{
	if (mc->rax == NR_rt_sigaction)
		return action_gate(mc, may_copy());
	return may_copy() ? path_gate(mc) : 0;
}

/* EAX, EBX, ECX and EDX. */
__attribute__((used)) HIDDEN void shortcut_cpuid(u32 *regs)
{
	overlaid_cpuid(&regs[0], &regs[1], &regs[2], &regs[3]);
}

static int is_within(u64 rip, const u8 *begin, const u8 *end)
{
	return rip >= (u64)begin && rip < (u64)end;
}

int shortcut_probe(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;

	if (f->sig != SIGSEGV && f->sig != SIGBUS)
		return 0;
	if (is_within(mc->rip, agent_shortcut, agent_shortcut_probed)) {
		mc->rip = mc->rcx - SYSCALL_SIZE;
		return 1;
	}
	if (!is_within(mc->rip, agent_cpuid, agent_cpuid_probed))
		return 0;
	mc->rip = mc->rdx - CPUID_SIZE;
	emulate_cpuid(f->uc);
	return 1;
}

/* In the agent, but not called by a signal: there all others are blocked. */
int sent_in_shortcut(const struct frame *f)
{
	return !(f->uc->sigmask & SIGBIT(SIGSYS)) &&
	       !((SIGBIT(f->sig) & FAULT_SIGNALS) && f->info->code > 0) &&
	       !is_within(f->uc->mc.rip, agent_border_begin, agent_border_end);
}
