/* SPDX-License-Identifier: Apache-2.0
 *
 * Asynchronous exits: the fast twin of softsgx.machine.aex.
 */
#include "agent.h"
#include "tally.h"

#define EXIT_VALID (1u << 31)
#define EXIT_HARDWARE (3u << 8)
#define EXIT_SOFTWARE (6u << 8)
#define VECTOR_BP 3
#define VECTOR_GP 13
#define VECTOR_PF 14
#define PF_USER 4
#define MISC_EXINFO 1
#define RFLAGS_SYNTHETIC 0x108d5ul /* CF PF AF ZF SF OF RF are zero after the exit */

/* Exceptions that EXITINFO always reports; #GP and #PF only with EXINFO. */
#define ALWAYS_REPORTED \
	(1u << 0 | 1u << 1 | 1u << 3 | 1u << 5 | 1u << 6 | 1u << 16 | 1u << 17 | 1u << 19)

/* Why an exit happens: the vector or NO_VECTOR, and for #PF its whole address. */
struct event {
	u32 vector, error;
	u64 address;
};

static u32 exitinfo_of(u32 vector)
{
	if (vector >= 32 || !(ALWAYS_REPORTED >> vector & 1))
		return 0;
	return EXIT_VALID | vector |
	       (vector == VECTOR_BP ? EXIT_SOFTWARE : EXIT_HARDWARE);
}

static void save_reason(const struct enclave *e, u8 *gpr, const struct event *why)
{
	u32 *exitinfo = (u32 *)(gpr + GPRSGX_EXITINFO);
	u8 *exinfo = gpr - EXINFO_SIZE;
	int page = why->vector == VECTOR_PF && (why->error & PF_USER);

	*exitinfo = exitinfo_of(why->vector);
	if (!(e->miscselect & MISC_EXINFO) || !(page || why->vector == VECTOR_GP))
		return;
	*exitinfo = EXIT_VALID | why->vector | EXIT_HARDWARE;
	memset(exinfo, 0, EXINFO_SIZE);
	*(u64 *)(exinfo + EXINFO_MADDR) = page ? why->address : 0;
	*(u32 *)(exinfo + EXINFO_ERRCD) = why->error;
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
static int exit_native(struct frame *f, const struct event *why)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct thread *th = f->th;
	struct enclave *e = th->encl;
	u64 frame, size, user[2];
	u8 *tcs, *gpr;
	u32 cssa;

	if (!e || !e->alias || !mc->fpstate)
		return 0;
	tcs = e->alias + (th->tcs - e->base);
	cssa = *(u32 *)(tcs + TCS_CSSA);
	frame = ssa_frame(e, tcs, cssa) - e->base;
	size = e->ssaframesize * 4096ul;
	if (frame > e->size - size)
		return 0;
	gpr = e->alias + frame + size - GPRSGX_SIZE;
	user[0] = G(GPRSGX_URSP);
	user[1] = G(GPRSGX_URBP);
	gpr_save(mc, gpr);
	G(GPRSGX_FSBASE) = rdfsbase();
	G(GPRSGX_GSBASE) = rdgsbase();
	save_reason(e, gpr, why);
	xsave_store(mc->fpstate, e->alias + frame, e->xfrm);
	xsave_synthetic(mc->fpstate, e->xfrm, why->vector);
	*(u32 *)(tcs + TCS_CSSA) = cssa + 1;
	tally(e, th->tcs)->aex++;
	gpr_synthetic(mc, th, user);
	leave_enclave_mode(f);
	return 1;
}

/* Neither the model nor a second mapping has the frame any more: there is nothing to save
 * into, and nothing that could be resumed. */
static void exit_without_frame(struct frame *f)
{
	const u64 user[2] = {f->th->ursp, f->th->urbp};

	gpr_synthetic(&f->uc->mc, f->th, user);
	leave_enclave_mode(f);
}

/* Leave the enclave as hardware does for a fault, or for an interrupt (NO_VECTOR).  The
 * model cannot when the program took the enclave's memory away. */
void enclave_exit(struct frame *f, u32 vector, u32 error, u64 address)
{
	const struct event why = {vector, error, address};
	struct answer ans;

	if (!f->th->exact && exit_native(f, &why))
		return;
	context_fill(f, &ans.ctx);
	ans.ctx.vector = vector;
	ans.ctx.error = error;
	ans.ctx.address = address;
	if (call_supervisor(CALL_AEX, (u64)&ans, 0, 0, 0, 0) >= 0)
		context_load(f, &ans.ctx);
	else if (!exit_native(f, &why))
		exit_without_frame(f);
}
