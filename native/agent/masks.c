/* SPDX-License-Identifier: Apache-2.0
 *
 * Signals that a thread believes to be blocked while the kernel may not block them:
 * who blocks what, and what waits for it.
 */
#include "agent.h"

static volatile u32 masked_lock;

/* Signals that the kernel must never block: at first those of the traps that any
 * program meets, and all fault signals once the process uses SGX. */
u64 unblocked = SIGBIT(SIGSYS) | SIGBIT(SIGTRAP);

static void lock(volatile u32 *word)
{
	while (__atomic_exchange_n(word, 1, __ATOMIC_ACQUIRE))
		__asm__ volatile("pause");
}

static void unlock(volatile u32 *word)
{
	__atomic_store_n(word, 0, __ATOMIC_RELEASE);
}

/* After a fork only the forking thread is left: whoever held the lock is gone. */
void signals_forked(void)
{
	unlock(&masked_lock);
}

/* ---- fault signals that a thread believes to be blocked ---- */

struct masked *masked_find(u64 fsbase)
{
	for (u64 i = 0; i < ARRAY_SIZE(A.masked); i++)
		if (A.masked[i].blocked && A.masked[i].fsbase == fsbase)
			return &A.masked[i];
	return 0;
}

u64 host_fsbase(const struct frame *f)
{
	return f->th && f->th->inside ? f->th->savefs : rdfsbase();
}

u64 blocked_faults(const struct frame *f)
{
	const struct masked *m;

	if (!__atomic_load_n(&A.nr_masked, __ATOMIC_RELAXED))
		return 0;
	m = masked_find(host_fsbase(f));
	return m ? m->blocked : 0;
}

void requeue(const struct k_siginfo *info)
{
	sys(NR_rt_tgsigqueueinfo, sys(NR_getpid, 0), sys(NR_gettid, 0),
	    (u32)info->signo, info);
}

int fault_index(int sig)
{
	static const u8 order[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};

	for (u64 i = 0; i < ARRAY_SIZE(order); i++)
		if (order[i] == sig)
			return (int)i;
	return 0;
}

static void masked_release(struct masked *m, u64 still)
{
	for (int sig = 1; sig <= SIGSYS; sig++) {
		u64 bit = SIGBIT(sig);

		if ((m->pending & bit) && !(still & bit)) {
			m->pending &= ~bit;
			requeue(&m->info[fault_index(sig)]);
		}
	}
	m->blocked = still;
	if (!still)
		A.nr_masked--;
}

void set_blocked_faults(u64 fsbase, u64 bits)
{
	struct masked *m;

	bits &= unblocked;
	if (!bits && !__atomic_load_n(&A.nr_masked, __ATOMIC_RELAXED))
		return;
	if (borrowed_memory())
		return;
	lock(&masked_lock);
	m = masked_find(fsbase);
	if (m) {
		masked_release(m, bits);
	} else if (bits) {
		for (u64 i = 0; i < ARRAY_SIZE(A.masked); i++) {
			m = &A.masked[i];
			if (m->blocked)
				continue;
			m->fsbase = fsbase;
			m->pending = 0;
			m->blocked = bits;
			A.nr_masked++;
			break;
		}
	}
	unlock(&masked_lock);
}

/* Keep a signal that the thread believes to be blocked. */
void hold(struct frame *f)
{
	struct masked *m;

	lock(&masked_lock);
	m = masked_find(host_fsbase(f));
	if (m && !(m->pending & SIGBIT(f->sig))) {
		m->pending |= SIGBIT(f->sig);
		m->info[fault_index(f->sig)] = *f->info;
	}
	unlock(&masked_lock);
}

/* Take signals out of a mask that the kernel keeps. */
u64 signals_unblocked(u64 mask)
{
	return mask & ~unblocked;
}

/* Signals that wait here because the kernel may not block them are given first; the
 * kernel looks after the others. */
int take_pending(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct masked *m = A.nr_masked ? masked_find(host_fsbase(f)) : 0;
	u64 set;

	if (!m || !m->pending || agent_copy(&set, (void *)mc->rdi, 8))
		return 0;
	for (int sig = 1; sig <= SIGSYS; sig++) {
		struct k_siginfo *info = &m->info[fault_index(sig)];

		if (!(m->pending & set & SIGBIT(sig)))
			continue;
		m->pending &= ~SIGBIT(sig);
		mc->rax = (u64)sig;
		if (mc->rsi && agent_copy((void *)mc->rsi, info, sizeof(*info)))
			mc->rax = (u64)-EFAULT_;
		return 1;
	}
	return 0;
}

/* ---- the other threads ---- */

/* When the set of signals that must not be blocked grows, every thread has to take them
 * out of its own mask: it is told by a SIGSYS that carries a value of ours. */
#define ADAPT_VALUE 0x7367786164617074ul
#define SI_QUEUE_ (-1)

struct dirent64_head {
	u64 ino;
	s64 off;
	u16 reclen;
	u8 type;
	char name[];
};

static void tell(u32 pid, const char *name)
{
	struct k_siginfo info = {.signo = SIGSYS, .code = SI_QUEUE_};
	u64 value = ADAPT_VALUE;
	u32 tid = 0;

	for (; *name >= '0' && *name <= '9'; name++)
		tid = tid * 10 + (u32)(*name - '0');
	if (!tid || tid == (u32)sys(NR_gettid, 0))
		return;
	info.addr = pid;
	memcpy(info.rest, &value, sizeof(value));
	sys(NR_rt_tgsigqueueinfo, pid, tid, SIGSYS, &info);
}

void threads_adapt(void)
{
	u8 buffer[512] __attribute__((aligned(8)));
	long fd = sys(NR_open, "/proc/self/task", O_DIRECTORY_CLOEXEC, 0);
	u32 pid = (u32)sys(NR_getpid, 0);
	long size;

	if (fd < 0)
		return;
	while ((size = sys(NR_getdents64, fd, buffer, sizeof(buffer))) > 0) {
		for (long at = 0; at < size;) {
			struct dirent64_head *entry = (struct dirent64_head *)(buffer + at);

			tell(pid, entry->name);
			at += entry->reclen;
		}
	}
	sys(NR_close, fd);
}

int is_adapt_request(const struct frame *f)
{
	u64 value;

	memcpy(&value, f->info->rest, sizeof(value));
	return f->sig == SIGSYS && f->info->code == SI_QUEUE_ && value == ADAPT_VALUE;
}

/* What this thread believes to be blocked is kept here from now on. */
void adapt(struct frame *f)
{
	set_blocked_faults(host_fsbase(f), f->uc->sigmask | blocked_faults(f));
	f->uc->sigmask &= ~unblocked;
}
