/* SPDX-License-Identifier: Apache-2.0
 *
 * Page faults of host code in an enclave's mapping: what the driver resolves is tried
 * again, what it refuses is a signal, and the rest is the abort page.
 *
 * Host code that touches a page which belongs to an enclave gets no signal: it reads
 * ones, and what it writes is lost.  Two bytes of ones are no instruction.
 */
#include "agent.h"

#define PAGE 4096ul
#define PF_WRITE 2
#define PF_FETCH 0x10
#define RFLAGS_DF 0x400ul

/* ---- a string instruction that writes ---- */

struct string {
	u64 unit, length; /* bytes, of an element and of the instruction */
	int moves;
};

/* REP MOVS or REP STOS: a step would take each of its elements for one instruction. */
static int at_string(u64 rip, struct string *s)
{
	u8 code[4] = {0}, *opcode = code + 1;

	if (agent_copy(code, (void *)rip, 4) || (code[0] & 0xfe) != 0xf2)
		return 0;
	s->unit = 4;
	if ((*opcode & 0xf8) == 0x48)
		s->unit = 8;
	opcode += (*opcode & 0xf0) == 0x40;
	if ((*opcode & 0xfe) != 0xa4 && (*opcode & 0xfe) != 0xaa)
		return 0;
	s->unit = *opcode & 1 ? s->unit : 1;
	s->moves = (*opcode & 0xfe) == 0xa4;
	s->length = (u64)(opcode + 1 - code);
	return 1;
}

/* How many bytes can be read from an address, up to size. */
static u64 readable(u64 from, u64 size)
{
	u64 end = from + size, at;
	u8 byte;

	for (at = from; at < end; at = (at & ~(PAGE - 1)) + PAGE)
		if (agent_copy(&byte, (void *)at, 1))
			break;
	return at < end ? at - from : size;
}

/* What it writes is lost up to end: only its registers change.  0: not such a one. */
static int string_lost(struct frame *f, u64 end)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct string s;
	u64 count;

	if ((mc->rflags & (RFLAGS_DF | RFLAGS_TF)) || mc->rdi >= end ||
	    mc->rdi != mc->cr2 || !at_string(mc->rip, &s))
		return 0;
	count = (end - mc->rdi) / s.unit;
	if (count > mc->rcx)
		count = mc->rcx;
	if (s.moves)
		count = readable(mc->rsi, count * s.unit) / s.unit;
	if (!count)
		return 0;
	mc->rdi += count * s.unit;
	mc->rsi += s.moves ? count * s.unit : 0;
	mc->rcx -= count;
	mc->rip += mc->rcx ? 0 : s.length;
	return 1;
}

static void step_over(struct frame *f, u64 end)
{
	if (!(f->uc->mc.err & PF_WRITE) || !string_lost(f, end))
		abort_step(f, f->uc->mc.cr2 & ~(PAGE - 1));
}

/* ---- a closed curtain ---- */

enum shown { NOTHING, SHOWN, STEPPED, FETCHED };

/* What the curtain hides: host code may read ones there, many pages of them. */
static enum shown behind_curtain(const struct k_sigcontext *mc, u64 *end)
{
	const struct run *run;
	enum shown what = NOTHING;
	u64 page = mc->cr2 & ~(PAGE - 1);

	lock_enclaves();
	if (curtain_touched(mc->cr2, mc->err)) {
		what = SHOWN;
	} else if (mc->err & PF_FETCH) {
		what = curtain_met_outside(mc->cr2, PROT_EXEC_) ? FETCHED : NOTHING;
	} else if (mc->err & PF_WRITE) {
		run = curtain_met_outside(mc->cr2, PROT_WRITE_);
		what = run ? STEPPED : NOTHING;
		*end = run ? run->end : 0;
	} else {
		run = curtain_met_outside(mc->cr2, PROT_READ_);
		if (run) /* where the process can map no more, a step has room */
			what = abort_show(page, run->end - page) ? SHOWN : STEPPED;
	}
	unlock_enclaves();
	return what;
}

static int curtain_fault(struct frame *f)
{
	u64 end = 0;

	switch (behind_curtain(&f->uc->mc, &end)) {
	case NOTHING:
		return 0;
	case SHOWN:
		break;
	case STEPPED:
		step_over(f, end);
		break;
	case FETCHED:
		undefined(f);
		break;
	}
	return 1;
}

int outside_fault(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct answer ans;

	if (f->info->code <= 0 || (f->sig != SIGSEGV && f->sig != SIGBUS) ||
	    mc->trapno != 14 || !overlaps_hull(mc->cr2, 1))
		return 0;
	if (curtain_fault(f))
		return 1;
	context_fill(f, &ans.ctx);
	ans.ctx.vector = 14;
	ans.ctx.error = (u32)mc->err;
	ans.ctx.address = mc->cr2;
	ans.ctx.signo = (u32)f->sig;
	ans.ctx.sicode = (u32)f->info->code;
	if (call_supervisor(CALL_FAULT, (u64)&ans, 0, 0, 0, 0) < 0)
		return 0;
	carry_out_fault(&ans);
	if (ans.ctx.outcome == OUTCOME_FAULT)
		raise_fault(f, &ans.ctx);
	else if (ans.ctx.outcome == OUTCOME_ABORT && (mc->err & PF_FETCH))
		undefined(f);
	else if (ans.ctx.outcome == OUTCOME_ABORT)
		step_over(f, (mc->cr2 | (PAGE - 1)) + 1);
	return 1;
}
