/* SPDX-License-Identifier: Apache-2.0
 *
 * EENTER, ERESUME and EEXIT inside the process: fast twins of the leaves in
 * softsgx.enclu.  A twin does the leaf only when every check of the manual passes in
 * the plain case; anything else goes to the model, which knows the right fault.
 */
#include "agent.h"
#include "tally.h"

#define WORD_VALID 0x40
#define WORD_BLOCKED 0x80
#define WORD_TCS (PAGETYPE_TCS << 8 | WORD_VALID)
#define WORD_SSA (PAGETYPE_REG << 8 | WORD_VALID | 3)
#define WORD_SSA_MASK (0xff00 | WORD_BLOCKED | WORD_VALID | 0x18 | 3)
#define ATTR_AEXNOTIFY 0x400
#define TCS_DBGOPTIN 1ul
#define TCS_AEXNOTIFY 2ul
#define NOTIFY 1 /* GPRSGX.AEXNOTIFY */
#define RFLAGS_RESTORED 0x254cd5ul /* CF PF AF ZF SF DF OF NT RF AC ID */
#define NR_VERIFIED 256

/* TCSs that the model has entered since a mapping last changed. */
static struct {
	u64 tcs, generation;
} verified[NR_VERIFIED];

static u64 verified_slot(u64 tcs)
{
	return ((tcs >> 12) * 0x9e3779b97f4a7c15ul) >> 56;
}

/* Rises when what this process may do natively in an enclave may be out of date: by a call
 * of its own, or of another process that shares the enclave. */
static u64 generation_of(const struct enclave *e)
{
	const u32 *era = &tally(e, e->base)->era;

	return A.generation + __atomic_load_n(era, __ATOMIC_RELAXED);
}

static int is_verified(const struct enclave *e, u64 tcs)
{
	u64 i = verified_slot(tcs);

	return verified[i].tcs == tcs && verified[i].generation == generation_of(e) + 1;
}

static int canonical(u64 address)
{
	return (u64)((s64)(address << 16) >> 16) == address;
}

#define FIELD(base, offset, type) (*(type *)((base) + (offset)))

static int ssa_usable(const struct enclave *e, u64 frame)
{
	for (u32 i = 0; i < e->ssaframesize; i++)
		if ((epcm_word(e, frame + i * 4096ul) & WORD_SSA_MASK) != WORD_SSA)
			return 0;
	return 1;
}

/* Flags that agree with the enclave's.  Whoever steps through an enclave by TF is led by
 * the model. */
static int flags_usable(const struct frame *f, const struct enclave *e, u64 flags)
{
	if (flags & ~(TCS_DBGOPTIN | TCS_AEXNOTIFY))
		return 0;
	if (!(flags & TCS_AEXNOTIFY) != !(e->attributes & ATTR_AEXNOTIFY))
		return 0;
	return !((flags & TCS_DBGOPTIN) && (f->uc->mc.rflags & RFLAGS_TF));
}

u64 ssa_frame(const struct enclave *e, const u8 *tcs, u32 index)
{
	return e->base + FIELD(tcs, TCS_OSSA, u64) + (u64)index * e->ssaframesize * 4096;
}

static int ssa_inside(const struct enclave *e, u64 frame)
{
	u64 size = e->ssaframesize * 4096ul;

	return frame - e->base < e->size && frame + size - 1 - e->base < e->size;
}

static void give_tcs(u8 *tcs)
{
	__atomic_store_n(&FIELD(tcs, TCS_STAGE, u64), 0, __ATOMIC_RELEASE);
}

/* Whose thread is inside stands beside STAGE: should the process be killed meanwhile, the
 * supervisor takes the thread out.  A TCS that is taken stays in the EPC, and so does the
 * frame that its exit fills; before, each may leave at any moment. */
static u8 *take_tcs(struct enclave *e, u64 la)
{
	u64 active = (u64)A.config.pid << 32 | 1;
	u8 *tcs = e->alias + (la - e->base);

	if (epcm_word(e, la) != WORD_TCS || agent_swap((u64 *)(tcs + TCS_STAGE), 0, active))
		return 0;
	if (epcm_word(e, la) == WORD_TCS)
		return tcs;
	give_tcs(tcs);
	return 0;
}

/* The checks that EENTER and ERESUME share; the TCS in our alias, taken, or NULL. */
static u8 *usable_tcs(struct frame *f, struct enclave *e)
{
	u64 la = f->uc->mc.rbx;
	u8 *tcs;

	if (!e || (la & 4095) || !canonical(f->uc->mc.rcx) || !is_verified(e, la) ||
	    (e->xfrm & ~xcr0()))
		return 0;
	tcs = take_tcs(e, la);
	if (!tcs)
		return 0;
	if (flags_usable(f, e, FIELD(tcs, TCS_FLAGS, u64)) &&
	    !((FIELD(tcs, TCS_OSSA, u64) | FIELD(tcs, TCS_OFSBASGX, u64) |
	       FIELD(tcs, TCS_OGSBASGX, u64)) &
	      4095))
		return tcs;
	give_tcs(tcs);
	return 0;
}

/* An opt-out entry puts the host's TF aside. */
static void now_inside(struct frame *f, struct enclave *e, const u8 *tcs)
{
	struct thread *th = f->th;

	th->tcs = f->uc->mc.rbx;
	th->aep = f->uc->mc.rcx;
	th->ursp = f->uc->mc.rsp;
	th->urbp = f->uc->mc.rbp;
	th->savefs = rdfsbase();
	th->savegs = rdgsbase();
	th->opted_in = (FIELD(tcs, TCS_FLAGS, u64) & TCS_DBGOPTIN) != 0;
	th->savetf = f->uc->mc.rflags & RFLAGS_TF;
	f->uc->mc.rflags &= ~RFLAGS_TF;
	th->exact = 0;
	thread_inside(th, e);
}

/* What EEXIT and an asynchronous exit share; another thread may enter from now on. */
void leave_enclave_mode(struct frame *f)
{
	struct thread *th = f->th;
	struct enclave *e = th->encl;

	wrfsgsbase(th->savefs, th->savegs);
	if (!th->opted_in)
		f->uc->mc.rflags = (f->uc->mc.rflags & ~RFLAGS_TF) | th->savetf;
	if (e && e->alias)
		give_tcs(e->alias + (th->tcs - e->base));
	thread_outside(th);
}

/* EENTER's first step: RSP and RBP of the host go to the frame that the thread will use. */
static int save_user_stack(const struct frame *f, u64 gprsgx)
{
	u64 user[2] = {f->uc->mc.rsp, f->uc->mc.rbp};

	return agent_copy((void *)(gprsgx + GPRSGX_URSP), user, sizeof(user)) == 0;
}

/* EENTER, and an AEX notification: in at OENTRY, with one more frame. */
static int enter_at_oentry(struct frame *f, struct enclave *e, u8 *tcs)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u32 cssa = FIELD(tcs, TCS_CSSA, u32);
	u64 frame, gprsgx;

	frame = ssa_frame(e, tcs, cssa);
	gprsgx = frame + e->ssaframesize * 4096ul - GPRSGX_SIZE;
	if (cssa >= FIELD(tcs, TCS_NSSA, u32) || !ssa_inside(e, frame) ||
	    !ssa_usable(e, frame))
		return 0;
	curtain_reach(e, frame, e->ssaframesize * 4096ul);
	if (!save_user_stack(f, gprsgx))
		return 0;
	now_inside(f, e, tcs);
	FIELD(tcs, TCS_AEP, u64) = mc->rcx;
	mc->rax = cssa;
	mc->rcx = mc->rip + 3;
	mc->rip = e->base + FIELD(tcs, TCS_OENTRY, u64);
	wrfsgsbase(e->base + FIELD(tcs, TCS_OFSBASGX, u64),
		   e->base + FIELD(tcs, TCS_OGSBASGX, u64));
	return 1;
}

static int resumable(const u8 *gpr)
{
	return canonical(FIELD(gpr, GPRSGX_RIP, u64)) &&
	       canonical(FIELD(gpr, GPRSGX_FSBASE, u64)) &&
	       canonical(FIELD(gpr, GPRSGX_GSBASE, u64));
}

/* From now on the exit fills the frame, which therefore stays: unless it left just now. */
static int pop_frame(const struct enclave *e, u8 *tcs, u32 cssa, u64 frame)
{
	__atomic_store_n(&FIELD(tcs, TCS_CSSA, u32), cssa - 1, __ATOMIC_SEQ_CST);
	if (ssa_usable(e, frame))
		return 1;
	FIELD(tcs, TCS_CSSA, u32) = cssa;
	return 0;
}

/* The frame goes back into the registers. */
static int resume_in(struct frame *f, struct enclave *e, u8 *tcs)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u32 cssa = FIELD(tcs, TCS_CSSA, u32);
	u8 gpr[GPRSGX_SIZE];
	u64 frame, gprsgx;

	if (cssa == 0)
		return 0;
	frame = ssa_frame(e, tcs, cssa - 1);
	gprsgx = frame + e->ssaframesize * 4096ul - GPRSGX_SIZE;
	if (!ssa_inside(e, frame) || !ssa_usable(e, frame))
		return 0;
	curtain_reach(e, frame, e->ssaframesize * 4096ul);
	if (agent_copy(gpr, (void *)gprsgx, sizeof(gpr)))
		return 0;
	if ((FIELD(tcs, TCS_FLAGS, u64) & TCS_AEXNOTIFY) &&
	    (FIELD(gpr, GPRSGX_AEXNOTIFY, u8) & NOTIFY))
		return enter_at_oentry(f, e, tcs);
	if (!resumable(gpr))
		return 0;
	if (!pop_frame(e, tcs, cssa, frame))
		return 0;
	if (!xsave_load(mc->fpstate, frame, e->xfrm)) {
		FIELD(tcs, TCS_CSSA, u32) = cssa;
		return 0;
	}
	now_inside(f, e, tcs);
	FIELD(tcs, TCS_AEP, u64) = mc->rcx;
	gpr_load(mc, gpr);
	wrfsgsbase(FIELD(gpr, GPRSGX_FSBASE, u64), FIELD(gpr, GPRSGX_GSBASE, u64));
	mc->rflags = (mc->rflags & ~RFLAGS_RESTORED) |
		     (FIELD(gpr, GPRSGX_RFLAGS, u64) & RFLAGS_RESTORED);
	return 1;
}

/* The caller holds the enclave: its curtain stays open, behind which the frame is. */
static int enter_native(struct frame *f, struct enclave *e, u32 leaf)
{
	u8 *tcs = usable_tcs(f, e);

	if (!tcs)
		return 0;
	curtain_open(e);
	if (leaf == ENCLU_EENTER ? enter_at_oentry(f, e, tcs) : resume_in(f, e, tcs)) {
		tally(e, f->th->tcs)->entries += leaf == ENCLU_EENTER;
		return 1;
	}
	give_tcs(tcs);
	return 0;
}

int eexit_native(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct thread *th = f->th;

	if (th->exact || !th->encl || !canonical(mc->rbx))
		return 0;
	mc->rip = mc->rbx;
	mc->rcx = th->aep;
	tally(th->encl, th->tcs)->exits++;
	leave_enclave_mode(f);
	if (mc->rflags & RFLAGS_TF)
		raise_single_step(f);
	return 1;
}

/* Whether the processor has EDECCSSA, the model says: at its first success. */
static u32 has_edeccssa;

void edeccssa_known(void)
{
	has_edeccssa = 1;
}

int edeccssa_native(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct thread *th = f->th;
	struct enclave *e = th->encl;
	u64 frame;
	u8 *tcs;
	u32 cssa;

	if (!has_edeccssa || th->exact || !e || (mc->rflags & RFLAGS_TF))
		return 0;
	tcs = e->alias + (th->tcs - e->base);
	cssa = FIELD(tcs, TCS_CSSA, u32);
	if (cssa == 0)
		return 0;
	frame = ssa_frame(e, tcs, cssa - 1);
	if (!ssa_inside(e, frame) || !ssa_usable(e, frame))
		return 0;
	if (!pop_frame(e, tcs, cssa, frame))
		return 0;
	mc->rip += 3;
	return 1;
}

static u64 generation_at(u64 tcs)
{
	struct enclave *e = enclave_hold(tcs);
	u64 generation = e ? generation_of(e) : A.generation;

	enclave_let_go(e);
	return generation;
}

static void remember_verified(struct frame *f, u64 tcs, u64 generation)
{
	u64 i = verified_slot(tcs);

	if (!f->th || !f->th->inside || (A.config.flags & CONFIGFLAG_EXACT))
		return;
	verified[i].generation = 0;
	verified[i].tcs = tcs;
	verified[i].generation = generation + 1;
}

static int is_entry(u32 leaf)
{
	return leaf == ENCLU_EENTER || leaf == ENCLU_ERESUME;
}

static int crossed_natively(struct frame *f, u32 leaf)
{
	struct enclave *e;
	int done;

	/* The supervisor hears of a fork before the child enters. */
	if ((A.config.flags & CONFIGFLAG_EXACT) || A.parent || !is_entry(leaf))
		return 0;
	e = enclave_hold(f->uc->mc.rbx);
	done = enter_native(f, e, leaf);
	enclave_let_go(e);
	return done;
}

/* Who resumes at a forbidden instruction, which nobody stepped over, meets it again. */
static void at_lifted(struct frame *f)
{
	if (!f->th->inside || f->uc->mc.rip != f->th->lifted)
		return;
	call_supervisor(CALL_RESUMED, f->th->lifted, 0, 0, 0, 0);
	f->th->lifted = 0;
}

/* ENCLU outside an enclave, RIP at the instruction. */
void host_enclu(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 at = mc->rip, tcs = mc->rbx, generation;
	int trapped = f->sig == SIGILL;
	u32 leaf = (u32)mc->rax;

	/* Before it uses SGX, a process has no enclave to enter: the fault is certain. */
	if (!f->th && is_entry(leaf) && A.config.tier >= 2) {
		f->th = thread_new(f->uc);
		if (!f->th)
			fatal("softsgx: no memory for a thread that enters an enclave\n");
	}
	if (f->th && is_entry(leaf))
		forbid_calls(f->th);
	if (trapped)
		site_patch(at, SITE_ENCLU);
	if (!crossed_natively(f, leaf)) {
		generation = generation_at(tcs);
		ask_enclu(f);
		if (is_entry(leaf))
			remember_verified(f, tcs, generation);
	}
	if (leaf == ENCLU_ERESUME && f->th->lifted)
		at_lifted(f);
}
