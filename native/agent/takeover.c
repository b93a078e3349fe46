/* SPDX-License-Identifier: Apache-2.0
 *
 * The step of a process from any program to one that uses SGX: every signal becomes the
 * agent's, in every thread, and a second filter traps what may change an enclave's
 * mappings.
 */
#include "agent.h"
#include "shortcut.h"
#include "curtain.h"
#include "filter.h"
#include "locks.h"

#define MADV_DONTNEED_ 4
#define PASSES 200
#define STATUS_SIZE 2048

#define SI_QUEUE_ (-1)

/* Once a process has the device open, changes of its mappings may concern an enclave,
 * and its signal stacks and returns are ours to look at.
 *
 * MADV_DONTNEED is let through: it does no harm to an enclave, and programs use it on
 * the part of a stack that the trap's frame would lie in. */
static struct sock_filter sgx_filter[] = {
	FILTER_HEAD(ALLOW),
	IF_EQ(NR_prctl, 0, 5),
	LOAD_LOW(0),
	IF_EQ(PR_GET_TSC_, 1, 0),
	IF_EQ(PR_SET_TSC_, 0, 1),
	TRAP,
	ALLOW,
	IF_EQ(NR_mlock, 16, 0),
	IF_EQ(NR_mlock2, 15, 0),
	IF_EQ(NR_msync, 14, 0),
	IF_EQ(NR_remap_file_pages, 13, 0),
	IF_EQ(NR_mprotect, 12, 0),
	IF_EQ(NR_munmap, 11, 0),
	IF_EQ(NR_mremap, 10, 0),
	IF_EQ(NR_sigaltstack, 9, 0),
	IF_EQ(NR_rt_sigreturn, 8, 0),
	IF_EQ(NR_madvise, 0, 2),
	LOAD_LOW(2),
	IF_EQ(MADV_DONTNEED_, 6, 5),
	IF_EQ(NR_mmap, 0, 5),
	LOAD_LOW(3),
	IF_SET(MAP_FIXED_, 2, 0),
	LOAD_LOW(4),
	IF_EQ(0xffffffff, 1, 0),
	TRAP,
	ALLOW,
};

static volatile u32 begun;

void install_filter(const struct k_fprog *prog)
{
	if (sys(NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, prog) == 0)
		return;
	sys(NR_prctl, PR_SET_NO_NEW_PRIVS_, 1, 0, 0, 0);
	if (sys(NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, prog) != 0)
		sys(NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, prog);
}

/* The second filter and that of views, once.  Before the first one of the program's own,
 * so that all threads can have them, and so that the program's is the newer one. */
void filter_first(void)
{
	static const struct k_fprog prog = {ARRAY_SIZE(sgx_filter), sgx_filter};

	views_filter();
	if (A.config.filtered & FILTERED_SGX)
		return;
	install_filter(&prog);
	if (!borrowed_memory())
		A.config.filtered |= FILTERED_SGX;
}

/* ---- the other threads' masks ---- */

static u64 hex_after(const char *text, u64 size, const char *label)
{
	u64 value = 0, length = 0;

	while (label[length])
		length++;
	for (u64 at = 0; at + length + 17 <= size; at++) {
		u64 same = 0;

		while (same < length && text[at + same] == label[same])
			same++;
		if (same < length)
			continue;
		for (int i = 0; i < 16; i++) {
			char c = text[at + length + (u64)i];

			value = value << 4 | (u64)(c <= '9' ? c - '0' : c - 'a' + 10);
		}
		return value;
	}
	return 0;
}

/* The mask that the kernel has for a thread, by its /proc/thread-self/../TID/status. */
static u64 kernel_mask(long tasks, const char *name)
{
	char path[32], text[STATUS_SIZE];
	static const char tail[] = "/status";
	u64 n = 0;
	long fd, got;

	while (name[n] && n < sizeof(path) - sizeof(tail)) {
		path[n] = name[n];
		n++;
	}
	memcpy(path + n, tail, sizeof(tail));
	fd = sys(NR_openat, tasks, path, 0);
	if (fd < 0)
		return 0;
	got = sys(NR_read, fd, text, sizeof(text));
	sys(NR_close, fd);
	return got > 0 ? hex_after(text, (u64)got, "\nSigBlk:\t") : 0;
}

static void ask_to_open(u64 tid)
{
	struct k_siginfo info = {.signo = SIGTRAP, .code = SI_QUEUE_};
	u64 value = OPEN_MASK_VALUE;

	memcpy(info.rest, &value, sizeof(value)); /* si_pid and si_uid come before it */
	sys(NR_rt_tgsigqueueinfo, sys(NR_getpid, 0), tid, SIGTRAP, &info);
}

/* Ask each thread that has blocked a fault signal; the number of those. */
static int ask_threads(long tasks)
{
	char entries[1024];
	int asked = 0;
	long got;

	sys(NR_lseek, tasks, 0, 0);
	while ((got = sys(NR_getdents64, tasks, entries, sizeof(entries))) > 0) {
		for (long at = 0; at < got; at += *(u16 *)(entries + at + 16)) {
			const char *name = entries + at + 19;
			u64 tid = 0;

			for (int i = 0; name[i] >= '0' && name[i] <= '9'; i++)
				tid = tid * 10 + (u64)(name[i] - '0');
			if (!tid || tid == (u64)sys(NR_gettid, 0) ||
			    !masks_hidden(kernel_mask(tasks, name)))
				continue;
			ask_to_open(tid);
			asked++;
		}
	}
	return asked;
}

/* The kernel would kill a thread that traps while it has the trap's signal blocked, and
 * a mask is changed only by its own thread.  SIGTRAP is never blocked by the kernel. */
static void open_masks(void)
{
	struct k_timespec nap = {0, 1000000};
	long tasks = sys(NR_open, "/proc/self/task", O_DIRECTORY_, 0);

	if (tasks < 0)
		return;
	/* Threads that are made meanwhile have the mask of their maker. */
	for (int pass = 0; pass < PASSES && ask_threads(tasks); pass++)
		sys(NR_nanosleep, &nap, 0);
	sys(NR_close, tasks);
}

/* A signal came by itself: is it another thread's request to open the mask? */
int open_own_mask(struct frame *f)
{
	u64 value;

	memcpy(&value, f->info->rest, sizeof(value));
	if (f->sig != SIGTRAP || f->info->code != SI_QUEUE_ || value != OPEN_MASK_VALUE)
		return 0;
	masks_set(f->uc->sigmask | masks_blocked());
	f->uc->sigmask = masks_real(f->uc->sigmask);
	return 1;
}

void takeover_forked(void)
{
	begun = A.config.tier >= 2;
}

void become_sgx_user(struct frame *f)
{
	/* A child of vfork will execve: the step is the new program's. */
	if (A.config.tier >= 2 || borrowed_memory())
		return;
	if (__atomic_exchange_n(&begun, 1, __ATOMIC_ACQ_REL)) {
		while (__atomic_load_n(&A.config.tier, __ATOMIC_ACQUIRE) < 2)
			__asm__ volatile("pause");
		return;
	}
	masks_use_sgx();
	masks_set(f->uc->sigmask | masks_blocked());
	f->uc->sigmask = masks_real(f->uc->sigmask);
	actions_own_all();
	filter_first();
	action_own(SIGTRAP, SA_RESTART_);
	open_masks();
	action_own(SIGTRAP, A.actions[SIGTRAP].flags);
	locks_use_sgx();
	pages_offer();
	abort_prepare();
	shortcuts_off = 1;
	/* It may come to its first ENCLU on a stack that has no room for a signal. */
	if (!f->th)
		f->th = thread_new(f->uc);
	__atomic_store_n(&A.config.tier, 2, __ATOMIC_RELEASE);
}
