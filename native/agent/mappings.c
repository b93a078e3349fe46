/* SPDX-License-Identifier: Apache-2.0
 *
 * mmap, mprotect and munmap where they concern enclaves: the supervisor judges, the
 * agent carries out.
 */
#include "agent.h"

static int overlaps_hull(u64 start, u64 length)
{
	return start < A.hull_end && start + length > A.hull_start;
}

/* The descriptor is of the file system that enclave memory lives in. */
static int maybe_enclave(u64 fd)
{
	u64 st[18]; /* struct stat begins with st_dev */

	return (s64)(int)fd >= 0 && sys(NR_fstat, (int)fd, st) == 0 &&
	       st[0] == A.config.shmdev;
}

static void unmapped(u64 start, u64 length)
{
	struct answer ans;

	ans.ctx.nops = ans.ctx.more = 0;
	call_supervisor(CALL_MUNMAP, start, length, (u64)&ans, 0, 0);
	enclaves_changed();
	carry_out(&ans);
}

static void mmap_native(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	long ret;

	if (!(mc->r10 & MAP_FIXED_) && !(mc->rdx & PROT_EXEC_)) {
		reissue(f);
		return;
	}
	ret = sys(NR_mmap, mc->rdi, mc->rsi, mc->rdx, mc->r10, mc->r8, mc->r9);
	if (ret >= 0 || ret < -4095) {
		if ((mc->r10 & MAP_FIXED_) && overlaps_hull(mc->rdi, mc->rsi))
			unmapped(mc->rdi, mc->rsi);
		if ((mc->rdx & PROT_EXEC_) && (int)mc->r8 >= 0)
			sites_of_text((u64)ret, mc->rsi, mc->r8, mc->r9);
	}
	mc->rax = (u64)ret;
}

/* mmap of an enclave's file: find the address, have the rules judged, map. */
void do_mmap(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 length = (mc->rsi + 4095) & ~4095ul, flags = mc->r10;
	struct answer ans;
	long at = (long)mc->rdi, ret;

	if ((flags & MAP_ANONYMOUS_) || !maybe_enclave(mc->r8)) {
		mmap_native(f);
		return;
	}
	if (mc->r9 & 4095) {
		mc->rax = (u64)-EINVAL_;
		return;
	}
	ans.ctx.nops = ans.ctx.more = 0;
	ret = call_supervisor(CALL_MMAP, 0, mc->rsi, mc->rdx | flags << 32, mc->r8, 0);
	if (ret == -NOT_OURS_CODE) {
		mmap_native(f);
		return;
	}
	if (ret == 0 && !(flags & MAP_FIXED_)) {
		at = sys(NR_mmap, mc->rdi, mc->rsi, PROT_NONE_,
			 MAP_PRIVATE_ | MAP_ANONYMOUS_ | MAP_NORESERVE_ |
				 (flags & ~(u64)(MAP_TYPE_)),
			 -1, 0);
		ret = at < 0 && at > -4096 ? at : 0;
	}
	if (ret == 0) {
		ret = call_supervisor(CALL_MMAP, (u64)at, mc->rsi,
				      mc->rdx | flags << 32, mc->r8, (u64)&ans);
		if (ret < 0 && !(flags & MAP_FIXED_))
			sys(NR_munmap, at, length);
	}
	if (ret == 0) {
		enclaves_changed();
		carry_out(&ans);
		ret = at;
	}
	mc->rax = (u64)ret;
}

void do_mprotect(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct answer ans;
	long ret, kernel;

	if (!overlaps_hull(mc->rdi, mc->rsi)) {
		reissue(f);
		return;
	}
	ans.ctx.nops = ans.ctx.more = 0;
	ret = call_supervisor(CALL_MPROTECT, mc->rdi, mc->rsi, mc->rdx, (u64)&ans, 0);
	if (ret == -NOT_OURS_CODE) {
		reissue(f);
		return;
	}
	enclaves_changed();
	kernel = carry_out(&ans);
	/* Of the memory between enclaves the kernel is the judge. */
	mc->rax = (u64)(ret ? ret : kernel);
}

void do_munmap(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 start = mc->rdi, length = (mc->rsi + 4095) & ~4095ul;

	if (!overlaps_hull(start, length)) {
		reissue(f);
		return;
	}
	mc->rax = (u64)sys(NR_munmap, start, mc->rsi);
	if (mc->rax == 0)
		unmapped(start, length);
}
