/* SPDX-License-Identifier: Apache-2.0
 *
 * What a debugger's agent reads in a stopped tracee: the tracee's agent is the same
 * image at the same address.  What is wrong here is the tracee's own harm.
 */
#include "filter.h"
#include "tracer.h"

#define USER_RIP (16 * 8)
#define ATTRIBUTE_DEBUG 2
#define FEW_TRIES 8

int tracee_told(u64 pid, struct k_siginfo *info)
{
	return sys(NR_ptrace, PTRACE_GETSIGINFO_, pid, 0, info) == 0;
}

static u64 peek(u64 pid, const void *address)
{
	u64 word = 0;

	sys(NR_ptrace, PTRACE_PEEKDATA_, pid, address, &word);
	return word;
}

u64 tracee_rip(u64 pid)
{
	u64 rip = 0;

	sys(NR_ptrace, PTRACE_PEEKUSER_, pid, USER_RIP, &rip);
	return rip;
}

int tracee_has_agent(u64 pid)
{
	return peek(pid, (void *)AGENT_BASE) == *(const u64 *)AGENT_BASE;
}

int tracee_host_fs(u64 pid, u64 *base)
{
	const struct thread *th;
	u32 i, owner = 0;

	if (!tracee_has_agent(pid))
		return 0;
	for (i = 0; i < BLOCKS; i++) {
		owner = (u32)peek(pid, thread_owner(i));
		if (!owner || owner == pid)
			break;
	}
	if (i == BLOCKS || owner != pid)
		return 0;
	th = thread_block(i);
	*base = peek(pid, &th->savefs);
	return (u32)peek(pid, &th->inside) != 0;
}

static u64 queued_value(const struct k_siginfo *info)
{
	u64 value;

	if (info->signo != SIGTRAP || info->code != SI_QUEUE_)
		return 0;
	memcpy(&value, info->rest, sizeof(value));
	return value;
}

int tracee_stopped_for_us(const struct k_siginfo *info)
{
	return queued_value(info) == BORN_VALUE;
}

/* ---- which signals are ours ---- */

static int is_enclu(u64 code)
{
	return (code & 0xffffff) == 0xd7010f;
}

/* HLT, with what is left of ENCLU, CPUID, XGETBV or, where one prefix may stand before,
 * XSAVE and its kin behind it. */
static int is_fault_site(u64 code)
{
	u64 state = (code & 0xf0) == 0x40 ? code >> 8 : code;

	return (code & 0xffffff) == 0xd701f4 || (code & 0xffff) == 0xa2f4 ||
	       (code & 0xffffff) == 0xd001f4 || (state & 0xffff) == 0xaef4 ||
	       (state & 0xffff) == 0xc7f4;
}

/* A breakpoint in place of a CPUID; the debugger may have put one there itself. */
static int is_trap_site(u64 pid, u64 address)
{
	const u64 *slot;
	u64 site;

	for (u64 n = 0; (slot = site_slot(address, n)); n++) {
		site = peek(pid, slot);
		if (!site)
			return 0;
		if (site_known(site, address) != SITE_NONE)
			return 1;
	}
	return 0;
}

/* The agent follows a pointer of the program's. */
static int is_copying(u64 pid)
{
	u64 rip = tracee_rip(pid);

	return rip >= (u64)agent_copy_begin && rip < (u64)agent_copy_end;
}

static int in_hull(u64 pid, u64 address)
{
	return address >= peek(pid, &A.hull_start) && address < peek(pid, &A.hull_end);
}

/* The code where it stopped.  That of an enclave may have left the EPC since: to ask for it
 * brings it back, also where the answer is that nobody may read it. */
static u64 code_at_stop(u64 pid)
{
	u64 at = tracee_rip(pid), word = 0, theirs;

	for (u32 n = 0; n < FEW_TRIES; n++) {
		if (sys(NR_ptrace, PTRACE_PEEKDATA_, pid, at, &word) == 0 || !in_hull(pid, at))
			break;
		call_supervisor(CALL_PEEK, pid, at, (u64)&theirs, 0, 0);
	}
	return word;
}

int tracee_near_enclave(u64 pid, u64 address)
{
	return address < peek(pid, &A.hull_end) && address + 8 > peek(pid, &A.hull_start);
}

int tracee_is_opaque(u64 pid, u64 address)
{
	if (!in_hull(pid, address))
		return 0;
	for (u64 i = 0; i < ARRAY_SIZE(A.enclaves); i++) {
		const struct enclave *e = &A.enclaves[i];
		u64 size = peek(pid, &e->size);

		if (size && address - peek(pid, &e->base) < size)
			return !(peek(pid, &e->attributes) & ATTRIBUTE_DEBUG);
	}
	return 0;
}

/* A breakpoint in an enclave where its code has none: it stands for an instruction that
 * enclaves do not have.  The debugger has none of its own in a production enclave. */
static int is_enclave_site(u64 pid, u64 address)
{
	u64 word, shift = address % 8 * 8;

	if (!in_hull(pid, address))
		return 0;
	if (tracee_is_opaque(pid, address))
		return 1;
	return call_supervisor(CALL_PEEK, pid, address & ~7ul, (u64)&word, 0, 0) == 0 &&
	       (u8)(word >> shift) != 0xcc;
}

static int trap_is_ours(u64 pid, const struct k_siginfo *info)
{
	u64 at;

	if (queued_value(info) == OPEN_MASK_VALUE)
		return 1;
	if (info->code == SI_KERNEL) {
		at = tracee_rip(pid) - 1;
		return is_trap_site(pid, at) || is_enclave_site(pid, at);
	}
	return info->code == TRAP_TRACE_ && (u32)peek(pid, abort_stepper()) == pid;
}

int tracee_signal_is_ours(u64 pid, const struct k_siginfo *info)
{
	if (!(SIGBIT(info->signo) & FAULT_SIGNALS) || !tracee_has_agent(pid))
		return 0;
	switch (info->signo) {
	case SIGTRAP:
		return trap_is_ours(pid, info);
	case SIGSYS:
		return info->code == SYS_SECCOMP_ && info->errno_ == TRAP_DATA;
	case SIGILL:
		return info->code > 0 && is_enclu(code_at_stop(pid));
	case SIGSEGV:
	case SIGBUS:
		if (info->code == SI_KERNEL)
			return is_copying(pid) || in_state_stub(tracee_rip(pid)) ||
			       is_fault_site(code_at_stop(pid));
		return info->code > 0 && (in_hull(pid, info->addr) || is_copying(pid));
	}
	return 0;
}
