/* SPDX-License-Identifier: Apache-2.0
 *
 * The device and the mappings of its memory.  The supervisor judges by the driver's
 * rules; the process carries out what follows for its address space.
 */
#include "agent.h"
#include "locks.h"
#include "order.h"

#define PAGES(length) (((length) + 4095) & ~4095ul)
/* ENOSYS itself would be that nobody answered. */

enum { MADV_FREE = 8, MADV_REMOVE = 9, MADV_DOFORK = 11, MADV_DODUMP = 17,
       MADV_WIPEONFORK = 18, MADV_COLD = 20, MADV_COLLAPSE = 25 };
enum { MS_SYNC = 4 };
enum { MREMAP_MAYMOVE = 1, MREMAP_FIXED = 2, MREMAP_DONTUNMAP = 4 };

/* What an answer maps is mapped by the descriptor that the call returned: the program's
 * own leads to no memory. */
static long map_given(struct answer *ans, long fd)
{
	long ret;

	ans->memory = fd;
	ret = carry_out(ans);
	if (fd < 0)
		return fd;
	sys(NR_close, fd);
	return ret;
}

static int maps(const struct abi_op *op)
{
	return op->kind == OPKIND_MAP || op->kind == OPKIND_ENCLAVE;
}

static long unmap_ours(u64 start, u64 length);

/* The process has no descriptor left: what waited for the enclave goes. */
static void unmap_waiting(struct answer *ans)
{
	for (u32 i = 0; i < ans->ctx.nops && i < MAX_OPS; i++)
		if (ans->ops[i].kind == OPKIND_MAP)
			unmap_ours(ans->ops[i].start, ans->ops[i].end - ans->ops[i].start);
	ans->ctx.nops = 0;
}

void do_ioctl(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct answer ans;
	long ret, kernel;

	ans.ctx.nops = ans.ctx.more = 0;
	ret = call_supervisor(CALL_IOCTL, mc->rdi, mc->rsi, mc->rdx, (u64)&ans,
			      f->uc->sigmask | masks_blocked());
	if (ret == -NOT_OURS_CODE) {
		reissue(f);
		return;
	}
	if (ret == -NOT_IMPLEMENTED_CODE)
		ret = -ENOSYS_;
	/* The descriptor may have come by other ways than open. */
	become_sgx_user(f);
	enclaves_changed();
	if (ans.ctx.nops && maps(&ans.ops[0])) {
		if (ret < 0)
			unmap_waiting(&ans);
		ret = map_given(&ans, ret);
		kernel = 0;
	} else {
		kernel = carry_out(&ans);
	}
	mc->rax = (u64)(ret ? ret : kernel);
}

int overlaps_hull(u64 start, u64 length)
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
	long number;

	ans.ctx.nops = ans.ctx.more = 0;
	number = call_supervisor(CALL_MUNMAP, start, length, (u64)&ans, 0, 0);
	if (number > 0)
		order_said((u32)number);
	enclaves_changed();
	carry_out(&ans);
}

static void mmap_native(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	int over = (mc->r10 & MAP_FIXED_) && overlaps_hull(mc->rdi, mc->rsi);
	long ret;

	if (!(mc->r10 & MAP_FIXED_) && !(mc->rdx & PROT_EXEC_)) {
		reissue(f);
		return;
	}
	if (over)
		curtain_change_begin(mc->rdi, PAGES(mc->rsi));
	ret = sys(NR_mmap, mc->rdi, mc->rsi, mc->rdx, mc->r10, mc->r8, mc->r9);
	if (over)
		curtain_change_end(mc->rdi, PAGES(mc->rsi), ret >= 0 || ret < -4095);
	if (ret >= 0 || ret < -4095) {
		if (over)
			unmapped(mc->rdi, mc->rsi);
		if ((mc->rdx & PROT_EXEC_) && (int)mc->r8 >= 0)
			sites_of_text((u64)ret, mc->rsi, mc->r8, mc->r9);
	}
	mc->rax = (u64)ret;
}

/* Where the kernel would put a mapping.  One of isgx is aligned to its own length, even
 * if the program says where; it needs room for that. */
static long place(const struct k_sigcontext *mc, u64 align)
{
	u64 length = PAGES(mc->rsi), room = mc->rsi, hint = mc->rdi, flags = mc->r10, at;
	long got;

	if (align > 4096 && (flags & (MAP_FIXED_ | MAP_FIXED_NOREPLACE_)))
		hint = (hint + align - 1) & -align;
	else if (align > 4096)
		room = 2 * length;
	if (flags & MAP_FIXED_)
		return (long)hint;
	got = sys(NR_mmap, hint, room, PROT_NONE_,
		  MAP_PRIVATE_ | MAP_ANONYMOUS_ | MAP_NORESERVE_ | (flags & ~(u64)MAP_TYPE_),
		  -1, 0);
	if (got < 0 && got > -4096)
		return got;
	at = ((u64)got + align - 1) & -align;
	if (at > (u64)got)
		sys(NR_munmap, got, at - (u64)got);
	if ((u64)got + room > at + length)
		sys(NR_munmap, at + length, (u64)got + room - at - length);
	return (long)at;
}

/* Unmap what may be an enclave's: the kernel's answer. */
static long unmap_ours(u64 start, u64 length)
{
	long ret;

	curtain_change_begin(start, PAGES(length));
	ret = sys(NR_munmap, start, length);
	curtain_change_end(start, PAGES(length), ret == 0);
	if (ret == 0)
		unmapped(start, PAGES(length));
	return ret;
}

static long ask_mapping(const struct k_sigcontext *mc, u64 at, struct answer *ans)
{
	ans->ctx.nops = ans->ctx.more = 0;
	ans->ctx.address = mc->r9;
	return call_supervisor(CALL_MMAP, at, mc->rsi, mc->rdx | mc->r10 << 32, mc->r8,
			       (u64)ans);
}

/* The same where the process has no descriptor left, by one beyond its limit: mmap needs
 * none.  Asked twice, the place is as if it had been asked once. */
static long ask_beyond_limit(const struct k_sigcontext *mc, u64 at, struct answer *ans)
{
	u64 limit[2], most[2];
	long fd;

	if (sys(NR_prlimit64, 0, RLIMIT_NOFILE_, 0, limit))
		return -EMFILE_;
	most[0] = most[1] = limit[1];
	sys(NR_prlimit64, 0, RLIMIT_NOFILE_, most, 0);
	fd = ask_mapping(mc, at, ans);
	sys(NR_prlimit64, 0, RLIMIT_NOFILE_, limit, 0);
	return fd;
}

/* Have a mapping judged and make it, at a place that is free or the program's wish. */
static long map_at(struct frame *f, u64 at)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct answer ans;
	long fd = ask_mapping(mc, at, &ans), ret;

	if (fd == -EMFILE_)
		fd = ask_beyond_limit(mc, at, &ans);
	if (fd < 0 && !ans.ctx.nops) {
		if (!(mc->r10 & MAP_FIXED_))
			sys(NR_munmap, at, PAGES(mc->rsi));
		return fd;
	}
	become_sgx_user(f);
	enclaves_changed();
	ret = map_given(&ans, fd);
	if (fd < 0) /* no descriptor is left */
		unmap_ours(at, mc->rsi);
	return ret ? ret : (long)at;
}

/* mmap of an enclave's file: find the address, have the rules judged, map. */
void do_mmap(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	long ret;

	if ((mc->r10 & MAP_ANONYMOUS_) || !maybe_enclave(mc->r8)) {
		mmap_native(f);
		return;
	}
	if (mc->r9 & 4095) {
		mc->rax = (u64)-EINVAL_;
		return;
	}
	ret = call_supervisor(CALL_MMAP, 0, mc->rsi, mc->rdx | mc->r10 << 32, mc->r8, 0);
	if (ret == -NOT_OURS_CODE) {
		mmap_native(f);
		return;
	}
	if (ret >= 0)
		ret = place(mc, (u64)ret);
	if (ret >= 0 || ret < -4095)
		ret = map_at(f, (u64)ret);
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

/* A thread that ends may unmap the stack it stands on, and the frame that would lead
 * back to it: the frame moves to a thread block first. */
static void munmap_own_stack(struct frame *f, u64 start, u64 length)
{
	struct k_ucontext *moved;
	struct thread *th;

	th = thread_new(f->uc);
	moved = th ? thread_keep_frame(th, f->uc) : 0;
	if (!moved)
		return;
	agent_leave_stack(moved, start, length);
}

void do_munmap(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 start = mc->rdi, length = PAGES(mc->rsi);
	int ours = overlaps_hull(start, length);

	if (mc->rsp - start < length && !f->th) {
		if (ours) {
			curtain_change_begin(start, length);
			curtain_change_end(start, length, 1);
			unmapped(start, length);
		}
		munmap_own_stack(f, start, length);
	}
	if (ours)
		mc->rax = (u64)unmap_ours(start, mc->rsi);
	else if (mc->rsp - start < length)
		mc->rax = (u64)sys(NR_munmap, start, mc->rsi);
	else
		reissue(f);
}

/* ---- what a mapping of a device refuses ---- */

int covers_enclave(u64 start, u64 length)
{
	return overlaps_hull(start, length) &&
	       call_supervisor(CALL_COVERS, start, length, 0, 0, 0) == 1;
}

/* An enclave's mapping neither grows nor moves; its end may be cut off. */
static long mremap_enclave(u64 start, u64 old, u64 new, u64 flags)
{
	if (!old || !new || (flags & (MREMAP_DONTUNMAP | MREMAP_FIXED)))
		return -EINVAL_;
	if (new > old)
		return -EFAULT_;
	if (new < old)
		unmap_ours(start + new, old - new);
	return (long)start;
}

void do_mremap(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 old = PAGES(mc->rsi), new = PAGES(mc->rdx), flags = mc->r10, to = mc->r8;

	if (covers_enclave(mc->rdi, old ? old : 4096)) {
		mc->rax = (u64)mremap_enclave(mc->rdi, old, new, flags);
	} else if ((flags & MREMAP_FIXED) && overlaps_hull(to, new)) {
		curtain_change_begin(to, new);
		mc->rax = (u64)sys(NR_mremap, mc->rdi, mc->rsi, mc->rdx, flags, to);
		curtain_change_end(to, new, mc->rax == to);
		if (mc->rax == to)
			unmapped(to, new);
	} else {
		reissue(f);
	}
}

void do_madvise(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u32 advice = (u32)mc->rdx;

	if (!covers_enclave(mc->rdi, PAGES(mc->rsi))) {
		reissue(f);
		return;
	}
	if (advice == MADV_REMOVE)
		mc->rax = (u64)-ENODEV_;
	else if (advice == MADV_FREE || advice == MADV_DOFORK || advice == MADV_DODUMP ||
		 advice == MADV_WIPEONFORK || (advice >= MADV_COLD && advice <= MADV_COLLAPSE))
		mc->rax = (u64)-EINVAL_;
	else
		reissue(f);
}

/* The device has no fsync. */
void do_msync(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;

	if (mc->rdx == MS_SYNC && !(mc->rdi & 4095) && covers_enclave(mc->rdi, PAGES(mc->rsi)))
		mc->rax = (u64)-EINVAL_;
	else
		reissue(f);
}

/* An address of an enclave shows its page wherever in the file it is: nothing changes. */
void do_remap_file_pages(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;

	if (!mc->rdx && covers_enclave(mc->rdi & ~4095ul, PAGES(mc->rsi)))
		mc->rax = 0;
	else
		reissue(f);
}
