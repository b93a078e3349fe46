/* SPDX-License-Identifier: Apache-2.0
 *
 * Fault signals that a thread sends itself in the kernel's own words: Linux lets it choose
 * every byte of the siginfo, so that nothing tells such a one from a trap.  What is sent
 * with a code of the kernel's is marked on its way in; a marked code is negative, as that
 * of anything that somebody sends, and the mark goes where the program looks at it.
 */
#include "agent.h"

#define MARK 0x80000000u
#define MARK_BITS 0xc0000000u
#define KERNEL_SIGINFO_SIZE 48	/* what the kernel copies in; the rest is zero */

void forged_unmark(struct k_siginfo *info)
{
	if (((u32)info->code & MARK_BITS) == MARK)
		info->code = (int32_t)((u32)info->code & ~MARK);
}

/* Nobody but the thread itself may be sent such a code.  Linux is asked with a signal
 * that is none, since it would let a marked one pass. */
static long may_send(const struct k_sigcontext *mc)
{
	struct k_siginfo none = {.code = 1};

	if (mc->rax == NR_rt_tgsigqueueinfo)
		return sys(NR_rt_tgsigqueueinfo, mc->rdi, mc->rsi, 0, &none);
	return sys((long)mc->rax, mc->rdi, 0, &none, mc->r10);
}

/* rt_sigqueueinfo, rt_tgsigqueueinfo and pidfd_send_signal of a fault signal: 0 if it is
 * not forged, and the call to be made as it is. */
int do_send_info(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	int is_tg = mc->rax == NR_rt_tgsigqueueinfo;
	u64 *at = is_tg ? &mc->r10 : &mc->rdx;
	struct k_siginfo info;
	long ret;

	memset(&info, 0, sizeof(info));
	if (!*at || agent_copy(&info, (void *)*at, KERNEL_SIGINFO_SIZE) || info.code <= 0)
		return 0;
	ret = may_send(mc);
	if (ret < 0) {
		mc->rax = (u64)ret;
		return 1;
	}
	info.code = (int32_t)((u32)info.code | MARK);
	reissue_with(f, at, is_tg ? agent_reissue_r10 : agent_reissue_rdx, &info,
		     sizeof(info));
	return 1;
}
