/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside an enclave XCR0 is XFRM: SDM: "Processor Extended States and ENCLU[EENTER]".
 * Where that is less than the machine's XCR0, XGETBV and the XSAVE family in enclaves are
 * sites (enclave_code.py).  They are executed here: outside the handler, with the thread's
 * own state, a mask that XFRM cuts, and the operand's address in RDI.  The trap behind
 * puts the registers back.  Whatever comes meanwhile finds the thread at the site.
 */
#include "agent.h"
#include "code.h"

#define HLT 0xf4
#define OPCODE_XSAVE 0xae /* XRSTOR and XSAVEOPT too */
#define OPCODE_XSAVEC 0xc7
#define OPCODE_SYSTEM 0x01
#define MODRM_XGETBV 0xd0
#define STUB_SIZE 16
#define VECTOR_GP 13
#define XCOMP_COMPACTED (1ul << 63)

enum state_stub { STUB_XSAVE, STUB_XRSTOR = 2, STUB_XSAVEOPT = 4, STUB_XSAVEC = 6,
		  STUB_XGETBV = 8, STUB_NONE };

extern HIDDEN u8 agent_state[], agent_state_end[];

struct instruction {
	u8 code[LONGEST + 2];
	const u8 *modrm;
	u8 rex, segment, is_short; /* prefixes: REX, FS or GS, addresses of 32 bits */
	u8 size;		   /* to be known when the operand is */
	u64 site;		   /* where HLT stands, behind the prefixes */
	enum state_stub stub;
};

static enum state_stub stub_of(const u8 *behind, u8 rex)
{
	u8 field = behind[1] >> 3 & 7, wide = rex >> 3 & 1;

	if (behind[0] == OPCODE_SYSTEM && behind[1] == MODRM_XGETBV)
		return STUB_XGETBV;
	if (behind[1] >= 0xc0)
		return STUB_NONE;
	if (behind[0] == OPCODE_XSAVE && field >= 4 && field <= 6)
		return STUB_XSAVE + 2 * (field - 4) + wide;
	if (behind[0] == OPCODE_XSAVEC && field == 4)
		return STUB_XSAVEC + wide;
	return STUB_NONE;
}

static int decode(struct instruction *in, u64 rip)
{
	const u8 *code = in->code;

	copy_instruction(in->code, rip);
	in->rex = in->segment = in->is_short = 0;
	for (; code < in->code + LONGEST - 2 && is_prefix(*code); code++) {
		in->rex = (*code & 0xf0) == 0x40 ? *code : 0;
		if (*code == 0x64 || *code == 0x65)
			in->segment = *code;
		in->is_short |= *code == 0x67;
	}
	if (*code != HLT)
		return 0;
	in->site = rip + (u64)(code - in->code);
	in->modrm = code + 2;
	in->stub = stub_of(code + 1, in->rex);
	return in->stub != STUB_NONE;
}

/* ---- the operand ---- */

static u64 reg(const struct k_sigcontext *mc, u8 number)
{
	const u64 low[8] = {mc->rax, mc->rcx, mc->rdx, mc->rbx,
			    mc->rsp, mc->rbp, mc->rsi, mc->rdi};
	const u64 high[8] = {mc->r8,  mc->r9,  mc->r10, mc->r11,
			     mc->r12, mc->r13, mc->r14, mc->r15};

	return number < 8 ? low[number] : high[number - 8];
}

static u64 displacement(const u8 *at, u64 size)
{
	signed char byte;
	int word;

	memcpy(&byte, at, 1);
	memcpy(&word, at, 4);
	return size == 4 ? (u64)(s64)word : size ? (u64)(s64)byte : 0;
}

/* The registers of ModRM and SIB, and where the displacement is. */
static u64 sum_of_registers(const struct k_sigcontext *mc, const struct instruction *in,
			    const u8 **at, u64 *size)
{
	u8 mode = *in->modrm >> 6, base = *in->modrm & 7, index;
	u64 sum = 0;

	*at = in->modrm + 1;
	*size = mode == 1 ? 1 : mode == 2 ? 4 : 0;
	if (base == 4) {
		index = (**at >> 3 & 7) | (in->rex << 2 & 8);
		base = **at & 7;
		if (index != 4)
			sum = reg(mc, index) << (**at >> 6);
		++*at;
	} else if (base == 5 && mode == 0) {
		*size = 4;
		return mc->rip + (u64)(*at + 4 - in->code);
	}
	if (base == 5 && mode == 0) {
		*size = 4;
		return sum;
	}
	return sum + reg(mc, base | (in->rex << 3 & 8));
}

static u64 address_of(const struct k_sigcontext *mc, struct instruction *in)
{
	const u8 *at;
	u64 size, sum = sum_of_registers(mc, in, &at, &size);

	sum += displacement(at, size);
	in->size = (u8)(at + size - in->code);
	if (in->is_short)
		sum = (u32)sum;
	if (in->segment)
		sum += in->segment == 0x64 ? rdfsbase() : rdgsbase();
	return sum;
}

/* XRSTOR finds a component that XCR0, which is XFRM, does not have. */
static int is_refused(const struct instruction *in, u64 area, u64 xfrm)
{
	u64 header[2];

	if (in->stub != STUB_XRSTOR && in->stub != STUB_XRSTOR + 1)
		return 0;
	if (code_copy(header, area + XSTATE_BV, sizeof(header)))
		return 0;
	return (header[0] & ~xfrm) ||
	       ((header[1] & XCOMP_COMPACTED) && (header[1] & ~(xfrm | XCOMP_COMPACTED)));
}

static void protection_fault(struct frame *f)
{
	raise_plain(f, VECTOR_GP, SIGSEGV, SI_KERNEL);
}

/* ---- there and back ---- */

static void execute(struct frame *f, struct instruction *in, u64 xfrm)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct detour *d = &f->th->detour;
	u64 area = 0;

	in->size = (u8)(in->modrm + 1 - in->code);
	if (in->stub != STUB_XGETBV) {
		area = address_of(mc, in);
		if (is_refused(in, area, xfrm)) {
			protection_fault(f);
			return;
		}
	}
	*d = (struct detour){mc->rip, mc->rip + in->size, mc->rax, mc->rdx, mc->rdi, xfrm, 0};
	if (in->stub != STUB_XGETBV) {
		mc->rax &= xfrm;
		mc->rdx &= xfrm >> 32;
		mc->rdi = area;
	}
	mc->rip = (u64)agent_state + in->stub * STUB_SIZE;
}

static int is_protection_fault(const struct frame *f)
{
	return f->sig == SIGSEGV && f->info->code == SI_KERNEL;
}

static u64 xfrm_at(struct thread *th, u64 site)
{
	const struct enclave *e = th->encl;
	long xfrm;

	if (e && site_lookup(site) == SITE_STATE)
		return e->xfrm;
	xfrm = call_supervisor(CALL_SITE, site, SITE_STATE, 0, 0, 0);
	if (xfrm <= 0)
		return 0;
	site_add(site, SITE_STATE);
	return (u64)xfrm;
}

/* A trap inside: 1 if it stands for one of these instructions. */
int state_site(struct frame *f)
{
	struct instruction in;
	u64 xfrm;

	if (!is_protection_fault(f) || !decode(&in, f->uc->mc.rip))
		return 0;
	if (f->th->detour.faulted) {
		f->th->detour.faulted = 0;
		return 0;
	}
	xfrm = xfrm_at(f->th, in.site);
	if (xfrm)
		execute(f, &in, xfrm);
	return xfrm != 0;
}

int in_state_stub(u64 rip)
{
	return rip >= (u64)agent_state && rip < (u64)agent_state_end;
}

/* Any signal: one that came while the instruction was executed finds it done or not
 * begun.  1: it is done, and the signal told of no more. */
int state_ended(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct detour *d;
	int done;

	if (!f->th || !f->th->inside || !in_state_stub(mc->rip))
		return 0;
	d = &f->th->detour;
	done = *(const u8 *)mc->rip == HLT;
	if (done && mc->rip >= (u64)agent_state + STUB_XGETBV * STUB_SIZE) {
		mc->rax &= d->xfrm;
		mc->rdx &= d->xfrm >> 32;
	} else {
		mc->rax = d->rax;
		mc->rdx = d->rdx;
		mc->rdi = d->rdi;
	}
	mc->rip = done ? d->next : d->rip;
	d->faulted = !done && is_protection_fault(f);
	return done && is_protection_fault(f);
}
