/* SPDX-License-Identifier: Apache-2.0
 *
 * ptrace, in the process that traces.  A program under softsgx meets signals that are
 * none of its own: the agent's.  Its debugger would stop at each, so that the debugger's
 * own agent looks at what a wait brought, lets such a tracee go on, and waits again.
 */
#include "agent.h"
#include "filter.h"
#include "tracer.h"

enum { P_PID = 1, WSTOPPED = 2, WEXITED = 4, WNOWAIT = 0x1000000, WALL = 0x40000000 };
enum { SIGINFO_PID = 16 };

/* Only in processes that trace: others wait at full speed. */
static struct sock_filter tracer_filter[] = {
	LOAD(nr), IF_EQ(WAITED_NR, 0, 1), TRAP,
	FILTER_HEAD(ALLOW),
	IF_EQ(NR_wait4, 1, 0),
	IF_EQ(NR_waitid, 0, 1),
	TRAP,
	ALLOW,
};

/* How the debugger last let each of its tracees go on. */
static struct {
	u32 pid, request;
} known[64];
static u32 next_known, installed;

static void remember(u32 pid, u32 request)
{
	u64 i = 0;

	while (i < ARRAY_SIZE(known) && known[i].pid != pid)
		i++;
	if (i == ARRAY_SIZE(known))
		i = next_known++ % ARRAY_SIZE(known);
	known[i].pid = pid;
	known[i].request = request;
}

static u32 last_request(u32 pid)
{
	for (u64 i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].pid == pid)
			return known[i].request;
	return PTRACE_CONT_;
}

/* ---- a stop that a wait brought ---- */

static void let_go(u32 pid, u32 request, u64 sig)
{
	u64 value = pid;

	if (request == PTRACE_SINGLESTEP_) {
		/* The step ends where the agent's work does. */
		sys(NR_ptrace, PTRACE_POKEDATA_, pid, &visit_stop, value);
		request = PTRACE_CONT_;
	}
	sys(NR_ptrace, request, pid, 0, sig);
}

/* One step was asked for: what the agent does in it counts as part of it. */
static int step_goes_on(u32 pid, struct k_siginfo *info)
{
	u64 rip = tracee_rip(pid);

	if (rip - AGENT_BASE < VDSO_OFFSET) {
		sys(NR_ptrace, PTRACE_SINGLESTEP_, pid, 0, 0);
		return 1;
	}
	if (tracee_is_opaque(pid, rip)) {
		/* No step ends in there: the next is behind the exit. */
		let_go(pid, PTRACE_SINGLESTEP_, 0);
		return 1;
	}
	if (info->code == SI_QUEUE_) {
		info->code = TRAP_TRACE_;
		info->addr = rip;
		sys(NR_ptrace, PTRACE_SETSIGINFO_, pid, 0, info);
	}
	return 0;
}

/* Of a step, or of a system call that was stepped over. */
static int is_step(const struct k_siginfo *info)
{
	return info->signo == SIGTRAP &&
	       (info->code == TRAP_TRACE_ || info->code == TRAP_BRKPT_);
}

/* 1: the tracee goes on, and its debugger has seen nothing. */
static int hidden(u32 pid)
{
	u32 request = last_request(pid);
	struct k_siginfo info;
	int ours;

	if (!tracee_told(pid, &info))
		return 0;
	ours = tracee_stopped_for_us(&info);
	if (request == PTRACE_SINGLESTEP_ &&
	    (ours || (is_step(&info) && tracee_has_agent(pid))))
		return step_goes_on(pid, &info);
	if (!ours && !tracee_signal_is_ours(pid, &info))
		return 0;
	let_go(pid, request, ours ? 0 : (u64)info.signo);
	return 1;
}

static u32 waited_for(u64 nr, long ret, u64 siginfo)
{
	u32 pid = 0;

	if (nr == NR_wait4)
		return ret > 0 ? (u32)ret : 0;
	if (ret == 0 && siginfo)
		agent_copy(&pid, (void *)(siginfo + SIGINFO_PID), sizeof(pid));
	return pid;
}

/* A wait ended, in the gate of reissue_wait: RSP is at the two slots of the gate. */
void do_waited(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 nr, ret;
	u32 pid;

	if (agent_copy(&ret, (void *)(mc->rsp - 8), 8) ||
	    agent_copy(&nr, (void *)(mc->rsp + 8), 8))
		return;
	pid = waited_for(nr, (long)ret, mc->rdx);
	mc->rax = ret;
	if (pid && hidden(pid)) {
		mc->rip = (u64)agent_reissue_wait;
		mc->rax = nr;
	}
}

/* ---- requests ---- */

static long wait_for(u64 pid, u64 how)
{
	struct k_siginfo info;
	long ret;

	do
		ret = sys(NR_waitid, P_PID, pid, &info, WSTOPPED | WALL | how, 0);
	while (ret == -EINTR_);
	return ret;
}

/* A tracee that stands before its first instruction gets its agent now, and stands there
 * again.  1: the debugger's request is still to be made.  0: it stopped for something
 * else on the way, which the debugger is to see first. */
static int give_birth(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct k_siginfo info;
	u64 pid = mc->rsi;

	/* The end of the execve is still to be reported. */
	if (mc->rdi == PTRACE_SYSCALL_ && tracee_told(pid, &info) &&
	    info.code == (EVENT_EXEC << 8 | SIGTRAP))
		return 1;
	if (sys(NR_ptrace, PTRACE_CONT_, pid, 0, mc->r10) < 0)
		return 1;
	if (wait_for(pid, WEXITED | WNOWAIT) < 0 || !tracee_told(pid, &info) ||
	    !tracee_stopped_for_us(&info)) {
		mc->rax = 0;
		return 0;
	}
	wait_for(pid, 0);
	mc->r10 = 0;
	return 1;
}

static int lets_go_on(u64 request)
{
	switch (request) {
	case PTRACE_CONT_:
	case PTRACE_SINGLESTEP_:
	case PTRACE_DETACH_:
	case PTRACE_SYSCALL_:
	case PTRACE_SYSEMU_:
	case PTRACE_SYSEMU_SINGLESTEP_:
	case PTRACE_SINGLEBLOCK_:
		return 1;
	}
	return 0;
}

static int accesses_memory(u64 request)
{
	return request == PTRACE_PEEKTEXT_ || request == PTRACE_PEEKDATA_ ||
	       request == PTRACE_POKETEXT_ || request == PTRACE_POKEDATA_;
}

/* What ptrace shows and the kernel does not know: memory of an enclave, as the device
 * reads and writes it, and what a thread inside has left outside.  1: it was one. */
static int virtual_request(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 word = 0;
	long ret;

	/* A debugger reads much that is no enclave's, word by word. */
	if (accesses_memory(mc->rdi) && !tracee_near_enclave(mc->rsi, mc->rdx))
		return 0;
	switch (mc->rdi) {
	case PTRACE_PEEKTEXT_:
	case PTRACE_PEEKDATA_:
		ret = call_supervisor(CALL_PEEK, mc->rsi, mc->rdx, (u64)&word, 0, 0);
		if (ret == 0)
			ret = agent_copy((void *)mc->r10, &word, sizeof(word));
		break;
	case PTRACE_POKETEXT_:
	case PTRACE_POKEDATA_:
		ret = call_supervisor(CALL_POKE, mc->rsi, mc->rdx, mc->r10, 0, 0);
		break;
	case PTRACE_PEEKUSER_:
		/* Debuggers find the thread of a library by it. */
		if (mc->rdx != USER_FS_BASE || !tracee_host_fs(mc->rsi, &word))
			return 0;
		ret = agent_copy((void *)mc->r10, &word, sizeof(word));
		break;
	default:
		return 0;
	}
	if (ret == -NOT_OURS_CODE)
		return 0;
	mc->rax = (u64)ret;
	return 1;
}

void do_ptrace(struct frame *f)
{
	static const struct k_fprog prog = {ARRAY_SIZE(tracer_filter), tracer_filter};
	struct k_sigcontext *mc = &f->uc->mc;

	/* A child of vfork is traced from its execve on: a stop before would be for ever,
	 * as the parent waits for the execve. */
	if (mc->rdi == PTRACE_TRACEME_ && borrowed_memory() &&
	    call_supervisor(CALL_TRACEME, 0, 0, 0, 0, 0) == 0) {
		mc->rax = 0;
		return;
	}
	if (lets_go_on(mc->rdi)) {
		if (!installed)
			install_filter(&prog);
		installed = 1;
		remember((u32)mc->rsi, (u32)mc->rdi);
		if (call_supervisor(CALL_TRACEE, mc->rsi, 0, 0, 0, 0) == 1 &&
		    !give_birth(f))
			return;
	}
	if (!virtual_request(f))
		reissue(f);
}
