/* SPDX-License-Identifier: Apache-2.0
 *
 * Asynchronous exits and the state they save: the fast twin of softsgx.machine.aex.
 */
#include "agent.h"

#define EXIT_VALID (1u << 31)
#define EXIT_HARDWARE (3u << 8)
#define EXIT_SOFTWARE (6u << 8)
#define MISC_EXINFO 1
#define ATTR_AEXNOTIFY 0x400
#define MXCSR_INIT 0x1f80
#define MXCSR 24
#define LEGACY_SIZE 416		/* x87 and SSE part of the FXSAVE image */
#define XSAVE_HEADER 512
#define RFLAGS_SYNTHETIC 0x108d5ul /* CF PF AF ZF SF OF RF are zero after the exit */
#define RFLAGS_TF 0x100ul
#define VECTOR_MF 16
#define VECTOR_XM 19
#define FIRST_EXTENDED 2
#define LAST_EXTENDED 20

/* Exceptions that EXITINFO always reports; #GP and #PF only with EXINFO. */
#define ALWAYS_REPORTED \
	(1u << 0 | 1u << 1 | 1u << 3 | 1u << 5 | 1u << 6 | 1u << 16 | 1u << 17 | 1u << 19)

static struct {
	u32 known, size, offset;
} component[LAST_EXTENDED + 1];

static void know_component(u32 i)
{
	u32 a = 0x0d, b = 0, c = i, d = 0;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	component[i].size = a;
	component[i].offset = b;
	__atomic_store_n(&component[i].known, 1, __ATOMIC_RELEASE);
}

/* GPRSGX and our context order the registers alike up to a few: see gen_abi.h. */
void gpr_store(const struct k_sigcontext *mc, u8 *to)
{
	struct abi_context *ctx = (struct abi_context *)to;

	ctx->rax = mc->rax;
	ctx->rbx = mc->rbx;
	ctx->rcx = mc->rcx;
	ctx->rdx = mc->rdx;
	ctx->rsi = mc->rsi;
	ctx->rdi = mc->rdi;
	ctx->rbp = mc->rbp;
	ctx->rsp = mc->rsp;
	ctx->r8 = mc->r8;
	ctx->r9 = mc->r9;
	ctx->r10 = mc->r10;
	ctx->r11 = mc->r11;
	ctx->r12 = mc->r12;
	ctx->r13 = mc->r13;
	ctx->r14 = mc->r14;
	ctx->r15 = mc->r15;
}

void gpr_load_context(struct k_sigcontext *mc, const struct abi_context *ctx)
{
	mc->rax = ctx->rax;
	mc->rbx = ctx->rbx;
	mc->rcx = ctx->rcx;
	mc->rdx = ctx->rdx;
	mc->rsi = ctx->rsi;
	mc->rdi = ctx->rdi;
	mc->rbp = ctx->rbp;
	mc->rsp = ctx->rsp;
	mc->r8 = ctx->r8;
	mc->r9 = ctx->r9;
	mc->r10 = ctx->r10;
	mc->r11 = ctx->r11;
	mc->r12 = ctx->r12;
	mc->r13 = ctx->r13;
	mc->r14 = ctx->r14;
	mc->r15 = ctx->r15;
	mc->rip = ctx->rip;
	mc->rflags = ctx->rflags;
}

#define G(reg) (*(u64 *)(gpr + (reg)))

static void gpr_save(const struct k_sigcontext *mc, u8 *gpr)
{
	G(GPRSGX_RAX) = mc->rax;
	G(GPRSGX_RCX) = mc->rcx;
	G(GPRSGX_RDX) = mc->rdx;
	G(GPRSGX_RBX) = mc->rbx;
	G(GPRSGX_RSP) = mc->rsp;
	G(GPRSGX_RBP) = mc->rbp;
	G(GPRSGX_RSI) = mc->rsi;
	G(GPRSGX_RDI) = mc->rdi;
	G(GPRSGX_R8) = mc->r8;
	G(GPRSGX_R9) = mc->r9;
	G(GPRSGX_R10) = mc->r10;
	G(GPRSGX_R11) = mc->r11;
	G(GPRSGX_R12) = mc->r12;
	G(GPRSGX_R13) = mc->r13;
	G(GPRSGX_R14) = mc->r14;
	G(GPRSGX_R15) = mc->r15;
	G(GPRSGX_RFLAGS) = mc->rflags & ~RFLAGS_TF;
	G(GPRSGX_RIP) = mc->rip;
}

void gpr_load(struct k_sigcontext *mc, u8 *gpr)
{
	mc->rax = G(GPRSGX_RAX);
	mc->rcx = G(GPRSGX_RCX);
	mc->rdx = G(GPRSGX_RDX);
	mc->rbx = G(GPRSGX_RBX);
	mc->rsp = G(GPRSGX_RSP);
	mc->rbp = G(GPRSGX_RBP);
	mc->rsi = G(GPRSGX_RSI);
	mc->rdi = G(GPRSGX_RDI);
	mc->r8 = G(GPRSGX_R8);
	mc->r9 = G(GPRSGX_R9);
	mc->r10 = G(GPRSGX_R10);
	mc->r11 = G(GPRSGX_R11);
	mc->r12 = G(GPRSGX_R12);
	mc->r13 = G(GPRSGX_R13);
	mc->r14 = G(GPRSGX_R14);
	mc->r15 = G(GPRSGX_R15);
	mc->rip = G(GPRSGX_RIP);
}

/* ---- extended state: between the kernel's frame and the SSA ---- */

static int copy_components(u8 *to, const u8 *from, u64 which)
{
	for (u32 i = FIRST_EXTENDED; i <= LAST_EXTENDED; i++) {
		if (!(which >> i & 1))
			continue;
		if (!component[i].known)
			know_component(i);
		if (component[i].size &&
		    agent_copy(to + component[i].offset, from + component[i].offset,
			       component[i].size))
			return 0;
	}
	return 1;
}

static void put_init_state(u8 *fp, u64 xfrm)
{
	u64 *bv = (u64 *)(fp + XSTATE_BV);

	*bv &= ~xfrm;
	*(u32 *)(fp + MXCSR) = MXCSR_INIT;
}

/* XSAVE under XFRM into the frame at ssa, initial state into the thread. */
static int xsave_store(u8 *fp, u64 ssa, u64 xfrm)
{
	u64 header[8] = {0};

	header[0] = *(u64 *)(fp + XSTATE_BV) & xfrm;
	if (agent_copy((void *)ssa, fp, LEGACY_SIZE) ||
	    agent_copy((void *)(ssa + XSAVE_HEADER), header, sizeof(header)) ||
	    !copy_components((u8 *)ssa, fp, header[0]))
		return 0;
	put_init_state(fp, xfrm);
	return 1;
}

/* XRSTOR under XFRM; a header that would fault is left to the model. */
int xsave_load(u8 *fp, u64 ssa, u64 xfrm)
{
	u64 header[8];
	u32 mxcsr;

	if (agent_copy(header, (void *)(ssa + XSAVE_HEADER), sizeof(header)))
		return 0;
	for (int i = 1; i < 8; i++)
		if (header[i])
			return 0;
	if (header[0] & ~xfrm)
		return 0;
	if (agent_copy(&mxcsr, (void *)(ssa + MXCSR), 4) || (mxcsr & 0xffff0000))
		return 0;
	if (agent_copy(fp, (void *)ssa, LEGACY_SIZE) ||
	    !copy_components(fp, (u8 *)ssa, header[0]))
		return 0;
	*(u64 *)(fp + XSTATE_BV) = (*(u64 *)(fp + XSTATE_BV) & ~xfrm) | header[0];
	return 1;
}

/* ---- the exit ---- */

static u32 exitinfo_of(u32 vector)
{
	if (vector >= 32 || !(ALWAYS_REPORTED >> vector & 1))
		return 0;
	return EXIT_VALID | vector | (vector == 3 ? EXIT_SOFTWARE : EXIT_HARDWARE);
}

static void gpr_synthetic(struct k_sigcontext *mc, const struct thread *th,
			  const u64 user[2])
{
	struct abi_context ctx = {0};

	ctx.rax = ENCLU_ERESUME;
	ctx.rbx = th->tcs;
	ctx.rcx = ctx.rip = th->aep;
	ctx.rsp = user[0];
	ctx.rbp = user[1];
	ctx.rflags = mc->rflags & ~RFLAGS_SYNTHETIC;
	gpr_load_context(mc, &ctx);
}

/* Save into the state save area by the second mapping: as on hardware, what the host
 * does to the first one meanwhile does not matter. */
static int exit_native(struct frame *f, u32 vector)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct thread *th = f->th;
	struct enclave *e = th->encl;
	u64 frame, at, user[2];
	u8 *tcs, *gpr;
	u32 cssa;

	if (!e || !e->alias || !mc->fpstate)
		return 0;
	tcs = e->alias + (th->tcs - e->base);
	cssa = *(u32 *)(tcs + TCS_CSSA);
	frame = ssa_frame(e, tcs, cssa) - e->base;
	if (frame + e->ssaframesize * 4096ul > e->alias_length)
		return 0;
	at = frame + e->ssaframesize * 4096ul - GPRSGX_SIZE;
	gpr = e->alias + at;
	user[0] = G(GPRSGX_URSP);
	user[1] = G(GPRSGX_URBP);
	memset(gpr, 0, GPRSGX_SIZE);
	gpr_save(mc, gpr);
	G(GPRSGX_URSP) = user[0];
	G(GPRSGX_URBP) = user[1];
	*(u32 *)(gpr + GPRSGX_EXITINFO) = exitinfo_of(vector);
	G(GPRSGX_FSBASE) = rdfsbase();
	G(GPRSGX_GSBASE) = rdgsbase();
	xsave_store(mc->fpstate, (u64)e->alias + frame, e->xfrm);
	*(u32 *)(tcs + TCS_CSSA) = cssa + 1;
	wrfsgsbase(th->savefs, th->savegs);
	gpr_synthetic(mc, th, user);
	__atomic_store_n((u64 *)(tcs + TCS_STAGE), 0, __ATOMIC_RELEASE);
	thread_outside(th);
	return 1;
}

/* Neither the model nor a second mapping has the frame any more: there is nothing to save
 * into, and nothing that could be resumed. */
static void exit_without_frame(struct frame *f)
{
	const u64 user[2] = {f->th->ursp, f->th->urbp};

	wrfsgsbase(f->th->savefs, f->th->savegs);
	thread_outside(f->th);
	gpr_synthetic(&f->uc->mc, f->th, user);
}

static int wants_model(const struct thread *th, u32 vector)
{
	const struct enclave *e = th->encl;

	return th->exact || !e || (e->attributes & ATTR_AEXNOTIFY) ||
	       (e->miscselect & MISC_EXINFO) || vector == VECTOR_MF ||
	       vector == VECTOR_XM;
}

/* Leave the enclave as hardware does for a fault, or for an interrupt (NO_VECTOR).  The
 * model cannot when the program took the enclave's memory away. */
void enclave_exit(struct frame *f, u32 vector, u32 error, u64 address)
{
	struct answer ans;

	if (!wants_model(f->th, vector) && exit_native(f, vector))
		return;
	context_fill(f, &ans.ctx);
	ans.ctx.vector = vector;
	ans.ctx.error = error;
	ans.ctx.address = address;
	if (call_supervisor(CALL_AEX, (u64)&ans, 0, 0, 0, 0) >= 0)
		context_load(f, &ans.ctx);
	else if (!exit_native(f, vector))
		exit_without_frame(f);
}
