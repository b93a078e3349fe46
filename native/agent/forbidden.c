/* SPDX-License-Identifier: Apache-2.0
 *
 * Instructions that an enclave does not have: there they are #UD, whatever they do or
 * raise outside.  SDM: "Illegal Instructions".
 *
 * Those that the processor or the kernel lets run are made to trap: system calls by a
 * dispatch that every thread arms at its first entry, RDTSC by the flag that the kernel
 * has for it, where the model is one without SGX2.  The rest are sites.
 */
#include "agent.h"
#include "code.h"

enum map { ONE_BYTE, TWO_BYTE };
enum form { PLAIN, MODRM, MODRM_MEMORY, EXACT_MODRM };

static const struct pattern {
	u8 map, first, last, form;
	u8 regs; /* MODRM: a bit for each value of its middle field; EXACT: its value */
} forbidden[] = {
	{ONE_BYTE, 0x6c, 0x6f, PLAIN, 0},	/* INS, OUTS */
	{ONE_BYTE, 0xe4, 0xe7, PLAIN, 0},	/* IN, OUT */
	{ONE_BYTE, 0xec, 0xef, PLAIN, 0},
	{ONE_BYTE, 0xca, 0xcb, PLAIN, 0},	/* far RET */
	{ONE_BYTE, 0xcd, 0xcd, PLAIN, 0},	/* INT n */
	{ONE_BYTE, 0xcf, 0xcf, PLAIN, 0},	/* IRET */
	{ONE_BYTE, 0x8e, 0x8e, MODRM, 0x3d},	/* MOV to ES, SS, DS, FS, GS */
	{ONE_BYTE, 0xff, 0xff, MODRM_MEMORY, 0x28}, /* far CALL and JMP */
	{TWO_BYTE, 0x00, 0x00, MODRM, 0x03},	/* SLDT, STR */
	{TWO_BYTE, 0x01, 0x01, MODRM_MEMORY, 0x03}, /* SGDT, SIDT */
	{TWO_BYTE, 0x01, 0x01, MODRM, 0x10},	/* SMSW */
	{TWO_BYTE, 0x01, 0x01, EXACT_MODRM, 0xc1}, /* VMCALL */
	{TWO_BYTE, 0x01, 0x01, EXACT_MODRM, 0xd4}, /* VMFUNC */
	{TWO_BYTE, 0x01, 0x01, EXACT_MODRM, 0xd9}, /* VMMCALL, of another maker */
	{TWO_BYTE, 0x05, 0x05, PLAIN, 0},	/* SYSCALL */
	{TWO_BYTE, 0x33, 0x34, PLAIN, 0},	/* RDPMC, SYSENTER */
	{TWO_BYTE, 0x37, 0x37, PLAIN, 0},	/* GETSEC */
	{TWO_BYTE, 0xa1, 0xa2, PLAIN, 0},	/* POP FS, CPUID */
	{TWO_BYTE, 0xa9, 0xa9, PLAIN, 0},	/* POP GS */
	{TWO_BYTE, 0xb2, 0xb2, MODRM_MEMORY, 0xff}, /* LSS */
	{TWO_BYTE, 0xb4, 0xb5, MODRM_MEMORY, 0xff}, /* LFS, LGS */
}, time_stamp[] = {
	{TWO_BYTE, 0x31, 0x31, PLAIN, 0},	/* RDTSC */
	{TWO_BYTE, 0x01, 0x01, EXACT_MODRM, 0xf9}, /* RDTSCP */
};

int is_prefix(u8 byte)
{
	switch (byte) {
	case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65:
	case 0x66: case 0x67: case 0xf0: case 0xf2: case 0xf3:
		return 1;
	}
	return (byte & 0xf0) == 0x40; /* REX */
}

static int fits(const struct pattern *p, const u8 *code)
{
	u8 modrm = code[1];

	if (code[0] < p->first || code[0] > p->last)
		return 0;
	switch (p->form) {
	case EXACT_MODRM:
		return modrm == p->regs;
	case MODRM_MEMORY:
		return modrm < 0xc0 && (p->regs >> (modrm >> 3 & 7) & 1);
	case MODRM:
		return p->regs >> (modrm >> 3 & 7) & 1;
	}
	return 1;
}

static int is_among(const struct pattern *list, u64 length, enum map map, const u8 *code)
{
	for (u64 i = 0; i < length; i++)
		if (list[i].map == map && fits(&list[i], code))
			return 1;
	return 0;
}

static const u8 *opcode_of(const u8 *code, enum map *map)
{
	const u8 *last = code + LONGEST - 2;

	while (code < last && is_prefix(*code))
		code++;
	*map = *code == 0x0f ? TWO_BYTE : ONE_BYTE;
	return *map == TWO_BYTE ? code + 1 : code;
}

int at_rdtsc(u64 rip)
{
	u8 code[LONGEST + 2];
	enum map map;
	const u8 *opcode;

	copy_instruction(code, rip);
	opcode = opcode_of(code, &map);
	return is_among(time_stamp, ARRAY_SIZE(time_stamp), map, opcode);
}

/* The instruction at an address is one that an enclave does not have. */
int at_forbidden(u64 rip)
{
	u8 code[LONGEST + 2];
	enum map map;
	const u8 *opcode;

	copy_instruction(code, rip);
	opcode = opcode_of(code, &map);
	return is_among(forbidden, ARRAY_SIZE(forbidden), map, opcode) ||
	       ((A.config.flags & CONFIGFLAG_NO_RDTSC) && at_rdtsc(rip));
}

/* ---- made to trap ---- */

/* From now on the kernel looks at this thread's "inside" before each system call that
 * does not come from the agent, and raises SIGSYS instead of serving it. */
void forbid_calls(struct thread *th)
{
	_Static_assert(sizeof(th->inside) == 4, "its first byte is the selector");
	if (th->guarded)
		return;
	th->guarded = 1;
	sys(NR_prctl, PR_SET_SYSCALL_USER_DISPATCH_, PR_SYS_DISPATCH_ON_, AGENT_BASE,
	    VDSO_OFFSET, &th->inside);
}

static u32 rdtsc_mode(void)
{
	u32 mode = 0;

	sys(NR_prctl, PR_GET_TSC_, &mode);
	return mode;
}

/* At each entry; only where the model says that there is no RDTSC inside.  It stays so
 * outside until the host wants the time: to change it is dear. */
void forbid_rdtsc(struct thread *th)
{
	if (!(A.config.flags & CONFIGFLAG_NO_RDTSC) || th->no_rdtsc)
		return;
	if (rdtsc_mode() == PR_TSC_SIGSEGV_)
		return; /* the program's own wish, for both sides */
	sys(NR_prctl, PR_SET_TSC_, PR_TSC_SIGSEGV_);
	th->no_rdtsc = 1;
}

/* The host may have the time again: 1 if it could not.  A thread without a block has
 * the mode of the thread that made it. */
int allow_rdtsc(struct thread *th)
{
	if (!(A.config.flags & CONFIGFLAG_NO_RDTSC) || A.config.tier < 2 ||
	    (th && !th->no_rdtsc) || rdtsc_mode() != PR_TSC_SIGSEGV_)
		return 0;
	sys(NR_prctl, PR_SET_TSC_, PR_TSC_ENABLE_);
	if (th)
		th->no_rdtsc = 0;
	return 1;
}
