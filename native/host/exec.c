/* SPDX-License-Identifier: Apache-2.0
 *
 * Following an execve: ptrace for one stop, between the kernel's work and the program's
 * first instruction.  In that stop the process is made to begin with a few instructions
 * of ours, which map the agent's memory and call the supervisor; inject.c answers.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen_abi.h"
#include "plain.h"

#define USER64_CS 0x33
#define MASKED_AT_ONCE 32 /* entries of the agent's table; the first are taken first */

/* ---- waiting ---- */

static int event_of(int status)
{
	return status >> 16;
}

/* Wait for a stop of the process, which this thread traces.  Several threads follow an
 * execve at a time, each its own.  The end of a child of ours, the first process, is
 * left for softsgx_wait_child to find. */
static long wait_stop(pid_t tid, pid_t tgid, int *status)
{
	for (;;) {
		siginfo_t info = {0};
		pid_t got;

		if (waitid(P_ALL, 0, &info,
			   WEXITED | WSTOPPED | WNOWAIT | __WALL | __WNOTHREAD) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		got = info.si_pid;
		if (got == softsgx_first_process && info.si_code != CLD_TRAPPED)
			return -ESRCH;
		if (waitpid(got, status, __WALL | __WNOTHREAD | WNOHANG) != got)
			continue;
		if (got == tid || got == tgid)
			return WIFSTOPPED(*status) ? got : -ESRCH;
	}
}

/* There is news of a child, which is not a stop that wait_stop waits for. */
static int has_news(pid_t pid)
{
	siginfo_t info = {0};

	return !waitid(P_PID, pid, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) &&
	       info.si_pid == pid && info.si_code != CLD_TRAPPED;
}

long softsgx_wait_child(pid_t pid)
{
	int status;

	return has_news(pid) && waitpid(pid, &status, WNOHANG | WUNTRACED) == pid ?
		       status : -1;
}

/* The stop of an execve raises SIGCHLD as one of the first process does, for which the
 * main thread waits (attend.c): it would be woken each time.  So there is none meanwhile,
 * and what it could not hear of it is told. */
static void hear_stops(int hears)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static unsigned int deaf;
	struct sigaction act;

	if (!softsgx_first_process)
		return;
	pthread_mutex_lock(&lock);
	deaf += hears ? -1u : 1;
	if (!sigaction(SIGCHLD, NULL, &act)) {
		act.sa_flags &= ~SA_NOCLDSTOP;
		act.sa_flags |= deaf ? SA_NOCLDSTOP : 0;
		sigaction(SIGCHLD, &act, NULL);
	}
	pthread_mutex_unlock(&lock);
	if (hears && has_news(softsgx_first_process))
		kill(getpid(), SIGCHLD);
}

/* ---- beginning ---- */

/* What the process runs first.  It stands at the start of the page that the program's
 * entry is in, so that it never reaches into another; inject.c puts back what was there
 * while the process waits, so the call is made from the agent's first bytes.  What it
 * needs is in registers: RBP = AGENT_BASE, RBX = CALL_START, and mmap's arguments. */
static const uint8_t stub[STUB_SIZE] = {
	0xb8, SYS_mmap, 0, 0, 0,		      /* mov $SYS_mmap, %eax */
	0x0f, 0x05,				      /* syscall */
	0x48, 0x89, 0xc6,			      /* mov %rax, %rsi */
	0x48, 0x39, 0xe8,			      /* cmp %rbp, %rax */
	0xb8, CALL_NR & 0xff, CALL_NR >> 8, 0, 0,     /* mov $CALL_NR, %eax */
	0x89, 0xdf,				      /* mov %ebx, %edi */
	0x75, 0x08,				      /* jne 1f */
	0x66, 0xc7, 0x45, 0x00, 0x0f, 0x05, /* movw $<syscall>, (%rbp) */
	0xff, 0xe5,				      /* jmp *%rbp */
	0x0f, 0x05,				      /* 1: syscall */
};

static long swap_code(int mem, struct softsgx_start *start)
{
	uint64_t at = start->rip & -4096ul;

	if (pread(mem, start->code, STUB_SIZE, at) != STUB_SIZE ||
	    pwrite(mem, stub, STUB_SIZE, at) != STUB_SIZE)
		return -EFAULT;
	return 0;
}

/* Have a process that stands at the end of its execve begin with the stub.  Signals
 * wait until the agent lets them: there is no stack to run a handler on. */
static long prepare(pid_t pid, struct softsgx_start *start, int *mem)
{
	struct user_regs_struct regs;
	uint64_t all = ~0ul;
	long ret;

	if (ptrace(PTRACE_GETREGS, pid, 0, &regs))
		return -errno;
	if (regs.cs != USER64_CS)
		return -ENOEXEC;
	start->rip = regs.rip;
	start->rsp = regs.rsp;
	*mem = open_memory(pid);
	ret = *mem < 0 ? *mem : swap_code(*mem, start);
	if (ret < 0)
		return ret;
	regs.rip &= -4096ul;
	regs.rsp = AGENT_BASE + FORK_OFFSET - 64;
	regs.rbp = AGENT_BASE;
	regs.rbx = CALL_START;
	regs.rdi = AGENT_BASE;
	regs.rsi = AGENT_SIZE;
	regs.rdx = PROT_READ | PROT_WRITE | PROT_EXEC;
	regs.r10 = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	regs.r8 = -1;
	regs.r9 = 0;
	if (ptrace(PTRACE_GETSIGMASK, pid, sizeof(start->mask), &start->mask) ||
	    ptrace(PTRACE_SETSIGMASK, pid, sizeof(all), &all) ||
	    ptrace(PTRACE_SETREGS, pid, 0, &regs))
		return -errno;
	return 0;
}

/* ---- following ---- */

static long answer_continue(int listener, uint64_t id)
{
	struct seccomp_notif_resp resp = {.id = id,
					  .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp) ? -errno : 0;
}

/* The stop at the end of an execve: 1.  0: it failed, or the process ended. */
static int wait_executed(pid_t tid, pid_t tgid)
{
	int status, signo;
	long got;

	for (;;) {
		got = wait_stop(tid, tgid, &status);
		if (got < 0)
			return 0;
		if (event_of(status) == PTRACE_EVENT_EXEC)
			return 1;
		if (event_of(status) == PTRACE_EVENT_STOP) {
			ptrace(PTRACE_DETACH, got, 0, 0);
			return 0;
		}
		signo = event_of(status) ? 0 : WSTOPSIG(status);
		ptrace(PTRACE_CONT, got, 0, signo);
	}
}

/* The parent of a process that is traced hears of its end only after the tracer. */
static void end(pid_t tgid)
{
	int status;

	kill(tgid, SIGKILL);
	while (wait_stop(tgid, tgid, &status) >= 0)
		;
}

/* What the agent of the old program knows of a thread's signals and the kernel does not,
 * and whether there is a second filter: nothing, if there is no agent. */
void softsgx_read_hidden(pid_t tid, uint64_t data, struct softsgx_start *start)
{
	struct abi_masked table[MASKED_AT_ONCE];
	struct abi_config head;

	start->blocked = start->pending = start->filtered = 0;
	if (read_memory(tid, data, &head, sizeof(head)) != sizeof(head))
		return;
	start->filtered = head.filtered;
	if (!head.masked)
		return;
	for (size_t i = 0; i < MAX_MASKED; i++) {
		const struct abi_masked *m = &table[i % MASKED_AT_ONCE];

		if (m == table &&
		    read_memory(tid, data + MASKED_OFFSET + i * sizeof(*table), table,
				sizeof(table)) != sizeof(table))
			return;
		if (m->tid != (uint32_t)tid)
			continue;
		start->blocked = m->blocked;
		start->pending = m->pending;
		return;
	}
}

/* Let an execve go on, and have the program that comes of it begin with a call to us.
 * data: the agent's.  Returns its pid, 0 if there is none.  start->error: ENOEXEC, it is none for an agent
 * and goes on without; another, it was killed. */
long follow_exec(const struct exec *e, struct softsgx_start *start, int *mem)
{
	int executed;
	long ret;

	softsgx_read_hidden(e->tid, e->data, start);
	if (ptrace(PTRACE_SEIZE, e->tid, 0, PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL))
		return -errno; /* traced by another: the caller answers */
	hear_stops(0);
	ret = answer_continue(e->listener, e->id);
	/* If the execve fails this stops it; if not, the other stop comes first. */
	ptrace(PTRACE_INTERRUPT, e->tid, 0, 0);
	executed = wait_executed(e->tid, e->tgid);
	hear_stops(1);
	if (!executed)
		return 0;
	if (ret < 0) { /* what we trace is not who asked */
		ptrace(PTRACE_DETACH, e->tgid, 0, 0);
		return 0;
	}
	ret = prepare(e->tgid, start, mem);
	start->error = -ret;
	__atomic_store_n(&start->pid, e->tgid, __ATOMIC_RELEASE);
	if (ret < 0 && ret != -ENOEXEC)
		end(e->tgid);
	else
		ptrace(PTRACE_DETACH, e->tgid, 0, 0);
	return e->tgid;
}

long softsgx_follow_exec(int listener, uint64_t id, pid_t tid, pid_t tgid, uint64_t data,
			 struct softsgx_start *start)
{
	const struct exec exec = {listener, id, tid, tgid, data};
	int mem = -1;
	long ret = follow_exec(&exec, start, &mem);

	if (mem >= 0)
		close(mem);
	return ret;
}
