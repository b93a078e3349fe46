/* SPDX-License-Identifier: Apache-2.0
 *
 * The program's own seccomp filters.  The kernel is given a filter that judges the
 * program's calls as the program's does, and lets the agent's pass: on hardware there is
 * no agent, and no filter knows of what it needs.
 *
 * Of all filters the most restrictive answer counts, and of equal ones the newest
 * filter's.  Ours trap calls that the program's may refuse with an errno, which is less:
 * so an errno becomes a trap too, with the errno in its data, and our filters come first.
 */
#include "agent.h"
#include "shortcut.h"
#include "filter.h"

#define OP_STRICT 0
#define OP_FILTER 1
#define MODE_STRICT 1
#define MODE_FILTER 2
#define MAX_LENGTH 4096
#define MAX_ERRNO 4095
#define TRAP_ERRNO 0x8000	/* the trap's data: this and an errno */
#define TRAP_STRICT 0x5359	/* a call that strict mode forbids */

struct program {
	u16 length;
	struct sock_filter *code;
};

/* From the agent's text: allowed, and so is the mapping that the injector makes in its
 * name at an execve.  The program's filter begins with a register of zero. */
static const struct sock_filter prefix[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		 offsetof(struct seccomp_data, instruction_pointer) + 4),
	IF_EQ((AGENT_BASE) >> 32, 0, 2),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		 offsetof(struct seccomp_data, instruction_pointer)),
	IF_GE((AGENT_BASE & 0xffffffff) + VDSO_OFFSET, 0, 6),
	LOAD(nr),
	IF_EQ(NR_mmap, 0, 5),
	LOAD_LOW(0),
	IF_EQ(AGENT_BASE & 0xffffffff, 0, 3),
	LOAD_HIGH(0),
	IF_EQ((AGENT_BASE) >> 32, 0, 1),
	ALLOW,
	BPF_STMT(BPF_LD | BPF_IMM, 0),
};

/* In place of "return A". */
static const struct sock_filter judge[] = {
	BPF_STMT(BPF_MISC | BPF_TAX, 0),
	AND(SECCOMP_RET_ACTION_FULL),
	IF_EQ(SECCOMP_RET_ERRNO, 2, 0),
	BPF_STMT(BPF_MISC | BPF_TXA, 0),
	BPF_STMT(BPF_RET | BPF_A, 0),
	BPF_STMT(BPF_MISC | BPF_TXA, 0),
	AND(SECCOMP_RET_DATA),
	IF_GE(MAX_ERRNO, 0, 1),
	BPF_STMT(BPF_LD | BPF_IMM, MAX_ERRNO),
	BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_TRAP | TRAP_ERRNO),
	BPF_STMT(BPF_RET | BPF_A, 0),
};

static struct sock_filter strict[] = {
	LOAD(arch),
	IF_EQ(AUDIT_ARCH_X86_64, 1, 0),
	RETURN(SECCOMP_RET_KILL_THREAD),
	LOAD(nr),
	IF_EQ(NR_read, 4, 0),
	IF_EQ(NR_write, 3, 0),
	IF_EQ(NR_exit, 2, 0),
	IF_EQ(NR_rt_sigreturn, 1, 0),
	RETURN(SECCOMP_RET_TRAP | TRAP_STRICT),
	ALLOW,
};

#define EXTRA (ARRAY_SIZE(prefix) + ARRAY_SIZE(judge))
#define ROOM ((MAX_LENGTH + EXTRA) * sizeof(struct sock_filter))

/* ---- rewriting ---- */

static int stays_inside(const struct sock_filter *at, u32 left)
{
	if (at->code == (BPF_JMP | BPF_JA))
		return at->k < left;
	return BPF_CLASS(at->code) != BPF_JMP || (at->jt < left && at->jf < left);
}

static void rewrite(struct sock_filter *at, u32 left)
{
	u32 number = at->k & SECCOMP_RET_DATA;

	if (at->code == (BPF_RET | BPF_A)) {
		*at = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, left);
	} else if (at->code == (BPF_RET | BPF_K) &&
		   (at->k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO) {
		number = number < MAX_ERRNO ? number : MAX_ERRNO;
		at->k = SECCOMP_RET_TRAP | TRAP_ERRNO | number;
	}
}

/* Put the length instructions behind the prefix in order; their whole length, 0 for a
 * program that the kernel must see as it is, to refuse it. */
static u32 rewrite_all(struct sock_filter *code, u32 length)
{
	struct sock_filter *own = code + ARRAY_SIZE(prefix);

	if (BPF_CLASS(own[length - 1].code) != BPF_RET)
		return 0;
	for (u32 i = 0; i < length; i++)
		if (!stays_inside(own + i, length - i - 1))
			return 0;
	for (u32 i = 0; i < length; i++)
		rewrite(own + i, length - i - 1);
	memcpy(code, prefix, sizeof(prefix));
	memcpy(own + length, judge, sizeof(judge));
	length += EXTRA;
	return length <= MAX_LENGTH ? length : 0;
}

static long install(struct sock_filter *code, u32 length, u64 flags)
{
	struct program program = {(u16)length, code};
	long ret;

	shortcuts_off = 1;
	filter_first();
	ret = sys(NR_seccomp, OP_FILTER, flags, &program);
	if (ret >= 0 && !borrowed_memory())
		A.config.filtered |= FILTERED_OWN;
	return ret;
}

/* 0: the call is to be made as it is. */
static int install_own(struct frame *f, u64 flags, u64 argument)
{
	struct sock_filter *code;
	struct program given;
	u32 length = 0;

	if (agent_copy(&given, (void *)argument, sizeof(given)) || !given.length ||
	    given.length > MAX_LENGTH)
		return 0;
	code = (void *)sys(NR_mmap, 0, ROOM, PROT_READ_ | PROT_WRITE_,
			   MAP_PRIVATE_ | MAP_ANONYMOUS_, -1ul, 0);
	if ((u64)code > -4096ul)
		return 0;
	if (!agent_copy(code + ARRAY_SIZE(prefix), given.code,
			given.length * sizeof(struct sock_filter)))
		length = rewrite_all(code, given.length);
	if (length)
		f->uc->mc.rax = (u64)install(code, length, flags);
	sys(NR_munmap, code, ROOM);
	return length != 0;
}

static void install_strict(struct frame *f)
{
	struct sock_filter code[ARRAY_SIZE(prefix) + ARRAY_SIZE(strict)];
	long ret;

	memcpy(code, prefix, sizeof(prefix));
	memcpy(code + ARRAY_SIZE(prefix), strict, sizeof(strict));
	ret = install(code, ARRAY_SIZE(code), 0);
	/* Strict mode asks for no privilege, a filter does. */
	if (ret == -EACCES_ && sys(NR_prctl, PR_SET_NO_NEW_PRIVS_, 1, 0, 0, 0) == 0)
		ret = install(code, ARRAY_SIZE(code), 0);
	f->uc->mc.rax = (u64)ret;
}

/* ---- the calls ---- */

void do_seccomp(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;

	if ((u32)mc->rdi == OP_STRICT && !mc->rsi && !mc->rdx)
		install_strict(f);
	else if ((u32)mc->rdi != OP_FILTER || !install_own(f, mc->rsi, mc->rdx))
		reissue(f);
}

void do_prctl_seccomp(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;

	if (mc->rsi == MODE_STRICT)
		install_strict(f);
	else if (mc->rsi != MODE_FILTER || !install_own(f, 0, mc->rdx))
		reissue(f);
}

/* A trap of a filter that is not ours: 0 if the signal is the program's. */
int trapped_by_own_filter(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u32 data = (u32)f->info->errno_;

	if (data == TRAP_STRICT) {
		/* Linux ends the thread; of the first, what its process shows. */
		if (sys(NR_getpid, 0) == sys(NR_gettid, 0))
			sys(NR_kill, sys(NR_getpid, 0), SIGKILL);
		sys(NR_exit, SIGKILL);
	}
	if (data < TRAP_ERRNO || data > TRAP_ERRNO + MAX_ERRNO)
		return 0;
	mc->rax = (u64)-(s64)(data - TRAP_ERRNO);
	return 1;
}

/* What the kernel says of a call that a filter of ours trapped, and nobody else. */
int is_our_trap(const struct frame *f)
{
	const struct k_sigcontext *mc = &f->uc->mc;
	u32 call[2]; /* number, architecture */

	memcpy(call, f->info->rest, sizeof(call));
	return f->info->errno_ == TRAP_DATA && f->info->addr == mc->rip &&
	       call[0] == (u32)mc->rax && call[1] == AUDIT_ARCH_X86_64;
}
