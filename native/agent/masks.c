/* SPDX-License-Identifier: Apache-2.0
 *
 * Fault signals that a thread believes it has blocked.
 *
 * The kernel kills whoever faults while the fault's signal is blocked, so the kernel's
 * mask never holds those that the agent lives on.  What the program asked for is noted
 * here, by thread: such a signal, when somebody sends it, waits here as well.
 */
#include "agent.h"

#define FIRST_LIMIT 64

/* A signal that waits for its thread to unblock it. */
struct waiting {
	u32 tid;
	struct k_siginfo info;
};

static volatile u32 table_lock;
static u32 limit = FIRST_LIMIT; /* entries of A.masked in use: the others are zero */
static struct waiting waiting[64];

/* Signals that the kernel must never block: at first those of the traps that any
 * program meets, and all fault signals once the process uses SGX. */
static u64 unblocked = SIGBIT(SIGSYS) | SIGBIT(SIGTRAP);

static void lock(void)
{
	while (__atomic_exchange_n(&table_lock, 1, __ATOMIC_ACQUIRE))
		__asm__ volatile("pause");
}

static void unlock(void)
{
	__atomic_store_n(&table_lock, 0, __ATOMIC_RELEASE);
}

u64 masks_real(u64 mask)
{
	return mask & ~unblocked;
}

u64 masks_hidden(u64 mask)
{
	return mask & unblocked;
}

void masks_watched(void)
{
	unblocked |= SIGBIT(SIGSEGV);
}

void masks_use_sgx(void)
{
	unblocked = FAULT_SIGNALS;
}

/* ---- the table ---- */

static struct abi_masked *find(u32 tid)
{
	for (u32 i = 0; i < limit; i++)
		if (A.masked[i].tid == tid)
			return &A.masked[i];
	return 0;
}

/* The entry that holds for the calling thread: a child of vfork has its parent's until
 * it sets a mask of its own. */
static struct abi_masked *find_own(void)
{
	struct abi_masked *m;
	u64 fsbase;

	if (!__atomic_load_n(&A.config.masked, __ATOMIC_RELAXED))
		return 0;
	m = find((u32)sys(NR_gettid, 0));
	if (m || !borrowed_memory())
		return m;
	fsbase = rdfsbase();
	for (u32 i = 0; i < limit; i++)
		if (A.masked[i].tid && A.masked[i].fsbase == fsbase)
			return &A.masked[i];
	return 0;
}

static int is_gone(u32 tid)
{
	return sys(NR_tgkill, A.pid, tid, 0) < 0;
}

static void release(struct abi_masked *m)
{
	memset(m, 0, sizeof(*m));
	A.config.masked--;
}

/* Threads end with every signal blocked: their entries are taken back when there is
 * no other left. */
static struct abi_masked *add(u32 tid)
{
	struct abi_masked *m;

	for (;;) {
		m = find(0);
		for (u32 i = 0; !m && i < limit; i++)
			if (is_gone(A.masked[i].tid))
				release(&A.masked[i]);
		if (!m)
			m = find(0);
		if (m)
			break;
		if (limit == MAX_MASKED)
			return 0;
		limit *= 2;
	}
	m->tid = tid;
	A.config.masked++;
	return m;
}

static void requeue_waiting(struct abi_masked *m, u64 signals)
{
	for (u64 i = 0; i < ARRAY_SIZE(waiting); i++) {
		struct waiting *w = &waiting[i];

		if (w->tid != m->tid || !(SIGBIT(w->info.signo) & signals))
			continue;
		m->pending &= ~SIGBIT(w->info.signo);
		signal_requeue(&w->info);
		w->tid = 0;
	}
}

/* ---- what the rest of the agent asks ---- */

u64 masks_blocked(void)
{
	const struct abi_masked *m = find_own();

	return m ? m->blocked : 0;
}

u64 masks_pending(void)
{
	const struct abi_masked *m = find_own();

	return m ? m->pending : 0;
}

/* The calling thread's mask is this now; what waited and may come, comes. */
void masks_set(u64 mask)
{
	u64 bits = masks_hidden(mask);
	struct abi_masked *m;
	int borrowed;
	u32 tid;

	if (!bits && !__atomic_load_n(&A.config.masked, __ATOMIC_RELAXED))
		return;
	borrowed = borrowed_memory();
	tid = (u32)sys(NR_gettid, 0);
	lock();
	m = find(tid);
	if (!m && (bits || borrowed))
		m = add(tid);
	if (m) {
		m->fsbase = rdfsbase();
		m->blocked = bits;
		requeue_waiting(m, ~bits);
		/* A child of vfork needs one that says: not my parent's. */
		if (!bits && !borrowed)
			release(m);
	}
	unlock();
}

/* Keep a signal that the thread has blocked; a second one of a kind is lost, as in the
 * kernel. */
void masks_hold(const struct k_siginfo *info)
{
	u64 bit = SIGBIT(info->signo);
	struct abi_masked *m;

	lock();
	m = find((u32)sys(NR_gettid, 0));
	for (u64 i = 0; m && !(m->pending & bit) && i < ARRAY_SIZE(waiting); i++) {
		if (waiting[i].tid)
			continue;
		waiting[i].info = *info;
		waiting[i].tid = m->tid;
		m->pending |= bit;
	}
	unlock();
}

/* Take one of a set of signals out of those that wait for the calling thread. */
int masks_take(u64 set, struct k_siginfo *info)
{
	struct abi_masked *m;
	int found = 0;

	if (!(masks_pending() & set))
		return 0;
	lock();
	m = find((u32)sys(NR_gettid, 0));
	for (u64 i = 0; m && !found && i < ARRAY_SIZE(waiting); i++) {
		struct waiting *w = &waiting[i];

		if (w->tid != m->tid || !(SIGBIT(w->info.signo) & set))
			continue;
		*info = w->info;
		forged_unmark(info);
		m->pending &= ~SIGBIT(info->signo);
		w->tid = 0;
		found = 1;
	}
	unlock();
	return found;
}

/* A child of fork: of all threads only one is left, under another number, and no
 * signal waits for it.  Whoever held the lock is gone. */
void masks_forked(void)
{
	u64 blocked = 0, fsbase = rdfsbase();

	unlock();
	for (u32 i = 0; i < limit; i++)
		if (A.masked[i].tid && A.masked[i].fsbase == fsbase)
			blocked = A.masked[i].blocked;
	memset(A.masked, 0, sizeof(A.masked));
	memset(waiting, 0, sizeof(waiting));
	A.config.masked = 0;
	masks_set(blocked);
}

/* After an execve: the mask and the waiting signals of the thread that made it.  What the
 * kernel may have of the mask, the injector gave it. */
void masks_inherit(u64 blocked, u64 pending)
{
	masks_set(blocked);
	for (int sig = 1; sig <= SIGSYS; sig++) {
		struct k_siginfo info = {.signo = sig, .code = SI_USER_};

		if (!(pending & SIGBIT(sig)))
			continue;
		if (masks_hidden(SIGBIT(sig)))
			masks_hold(&info);
		else
			signal_requeue(&info);
	}
}
