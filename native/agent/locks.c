/* SPDX-License-Identifier: Apache-2.0
 *
 * Locked memory.  Linux leaves the mappings of a device out of it, and never fills them; to
 * the kernel here enclaves are memory like any other, and most of it no pages yet.  So a
 * process that uses SGX has memory locked as it is touched, not before.
 */
#include "agent.h"
#include "locks.h"

#define MCL_FUTURE_ 2ul
#define MCL_ONFAULT_ 4ul
#define MLOCK_ONFAULT_ 1ul

static u32 locks_future; /* the kernel locks what the program maps from now on */

void do_mlockall(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	int all = mc->rax == NR_mlockall;
	u64 flags = all ? (u32)mc->rdi : 0, lazily = flags;
	long ret;

	if (A.config.tier >= 2 && flags && flags != MCL_ONFAULT_)
		lazily |= MCL_ONFAULT_;
	ret = all ? sys(NR_mlockall, lazily) : syscall6(NR_munlockall, 0, 0, 0, 0, 0, 0);
	if (ret == 0)
		locks_future = (flags & MCL_FUTURE_) != 0;
	mc->rax = (u64)ret;
}

/* mlock, mlock2 */
void do_mlock(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 start = mc->rdi & ~4095ul;
	u64 length = (mc->rsi + (mc->rdi - start) + 4095) & ~4095ul;

	if (!covers_enclave(start, length) ||
	    (mc->rax == NR_mlock2 && mc->rdx != MLOCK_ONFAULT_ && mc->rdx))
		reissue(f);
	else
		mc->rax = (u64)sys(NR_mlock2, mc->rdi, mc->rsi, MLOCK_ONFAULT_);
}

/* The process is to have an enclave: what it asked for before must not fill that. */
void locks_use_sgx(void)
{
	if (locks_future)
		sys(NR_mlockall, MCL_FUTURE_ | MCL_ONFAULT_);
}

void locks_forked(void)
{
	locks_future = 0;
}
