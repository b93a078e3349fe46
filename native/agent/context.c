/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread as the supervisor sees it: its registers out to the model, the model's answer
 * back, and what follows when the answer is a fault.
 */
#include "agent.h"

void context_fill(struct frame *f, struct abi_context *ctx)
{
	const struct k_sigcontext *mc = &f->uc->mc;
	const struct thread *th = f->th;
	u32 fp[2] = {0, 0};

	memset(ctx, 0, sizeof(*ctx));
	gpr_store(mc, (u8 *)ctx);
	ctx->rip = mc->rip;
	ctx->rflags = mc->rflags;
	ctx->fsbase = rdfsbase();
	ctx->gsbase = rdgsbase();
	ctx->xsave = (u64)mc->fpstate;
	if (mc->fpstate)
		memcpy(fp, mc->fpstate + FP_SW_BYTES + 0, 8);
	/* sw bytes: magic1, extended_size, xfeatures (8), xstate_size */
	if (fp[0] == FP_XSTATE_MAGIC1)
		memcpy(&ctx->xsavesize, mc->fpstate + FP_SW_BYTES + 16, 4);
	ctx->xcr0 = xcr0();
	if (th) {
		ctx->inside = th->inside;
		ctx->exact = A.config.flags & CONFIGFLAG_EXACT;
		ctx->tcs = th->tcs;
		ctx->aep = th->aep;
		ctx->savefs = th->savefs;
		ctx->savegs = th->savegs;
	}
}

void context_load(struct frame *f, const struct abi_context *ctx)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct thread *th = f->th;

	if (th && !th->inside) {
		th->ursp = mc->rsp;
		th->urbp = mc->rbp;
	}
	gpr_load_context(mc, ctx);
	if (!th)
		return;
	th->exact = A.config.flags & CONFIGFLAG_EXACT;
	th->tcs = ctx->tcs;
	th->aep = ctx->aep;
	th->savefs = ctx->savefs;
	th->savegs = ctx->savegs;
	if (th->inside && !ctx->inside)
		thread_outside(th);
	else if (!th->inside && ctx->inside)
		thread_inside(th, enclave_of(th->tcs));
	wrfsgsbase(ctx->fsbase, ctx->gsbase);
}

/* An instruction faulted: leave the enclave if inside, then Linux's signal. */
void raise_fault(struct frame *f, struct abi_context *ctx)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u32 vector = ctx->vector, error = ctx->error;
	u64 address = ctx->address;

	f->sig = f->info->signo = (int)ctx->signo;
	f->info->code = (int)ctx->sicode;
	f->info->errno_ = 0;
	if (f->th && f->th->inside)
		enclave_exit(f, vector, error, address);
	if (vector == 14)
		f->info->addr = address;
	else	/* Linux gives no address for #BP and #GP. */
		f->info->addr = vector == 3 || vector == 13 ? 0 : mc->rip;
	mc->trapno = vector;
	mc->err = error;
	if (vector == 14)
		mc->cr2 = address;
	signal_program(f);
}

/* The leaf by the model: as often as its page faults are resolved. */
void ask_enclu(struct frame *f)
{
	struct answer ans;
	long ret;

	for (;;) {
		context_fill(f, &ans.ctx);
		ret = call_supervisor(CALL_ENCLU, (u64)&ans, 0, 0, 0, 0);
		if (ret < 0)
			fatal("softsgx: internal error: the supervisor refused an ENCLU\n");
		carry_out_fault(&ans);
		if (ans.ctx.outcome != OUTCOME_RETRY)
			break;
	}
	if (ans.ctx.outcome == OUTCOME_LOAD)
		context_load(f, &ans.ctx);
	else
		raise_fault(f, &ans.ctx);
}
