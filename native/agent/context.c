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
	gpr_store_context(mc, ctx);
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
		ctx->debug = (th->savetf ? DEBUG_SAVE_TF : 0) |
			     (th->opted_in ? DEBUG_OPT_IN : 0);
		ctx->tcs = th->tcs;
		ctx->aep = th->aep;
		ctx->savefs = th->savefs;
		ctx->savegs = th->savegs;
	}
}

static void enter_held(struct thread *th)
{
	struct enclave *e = enclave_hold(th->tcs);

	thread_inside(th, e);
	enclave_let_go(e);
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
	th->savetf = ctx->debug & DEBUG_SAVE_TF ? RFLAGS_TF : 0;
	th->opted_in = (ctx->debug & DEBUG_OPT_IN) != 0;
	if (th->inside && !ctx->inside)
		thread_outside(th);
	else if (!th->inside && ctx->inside)
		enter_held(th);
	wrfsgsbase(ctx->fsbase, ctx->gsbase);
}

/* Linux gives the address of the instruction for these: #DE #DB #UD #MF #XM. */
#define AT_INSTRUCTION (1u << 0 | 1u << 1 | 1u << 6 | 1u << 16 | 1u << 19)

/* An instruction faulted: leave the enclave if inside, then Linux's signal. */
void raise_fault(struct frame *f, struct abi_context *ctx)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u32 vector = ctx->vector, error = ctx->error;
	u64 address = ctx->address;

	f->sig = f->info->signo = (int)ctx->signo;
	f->info->code = (int)ctx->sicode;
	f->info->errno_ = 0;
	if (vector != 14) /* Of a page fault the kernel also told the protection key. */
		memset(f->info->rest, 0, sizeof(f->info->rest));
	if (f->th && f->th->inside) {
		enclave_exit(f, vector, error, address);
		address &= ~0xffful;
	}
	if (vector == 14)
		f->info->addr = address;
	else
		f->info->addr = AT_INSTRUCTION >> vector & 1 ? mc->rip : 0;
	mc->trapno = vector;
	mc->err = error;
	if (vector == 14)
		mc->cr2 = address;
	signal_program(f);
}

/* An exception of which no more is to be told. */
void raise_plain(struct frame *f, u32 vector, int signo, int sicode)
{
	struct abi_context ctx;

	memset(&ctx, 0, sizeof(ctx));
	ctx.vector = vector;
	ctx.signo = (u32)signo;
	ctx.sicode = (u32)sicode;
	raise_fault(f, &ctx);
}

/* The instruction that ended was stepped over: #DB follows it, on either side. */
void raise_single_step(struct frame *f)
{
	raise_plain(f, 1, SIGTRAP, TRAP_TRACE_);
}

/* Without privileges the supervisor may not look at a process of another user's. */
void refused(long error, const char *otherwise)
{
	if (error == -EPERM_)
		fatal("softsgx: a process that changed its user can use enclaves only "
		      "if softsgx has privileges\n");
	fatal(otherwise);
}

/* What the instruction needs is kept by threads that are inside, as may be by this one. */
void wait_outside(struct frame *f)
{
	struct k_timespec nap = {0, 2000000};

	if (f->th && f->th->inside)
		enclave_exit(f, NO_VECTOR, 0, 0);
	sys(NR_nanosleep, &nap, 0);
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
			refused(ret, "softsgx: internal error: the supervisor refused an "
				     "ENCLU\n");
		carry_out_fault(&ans);
		if (ans.ctx.outcome != OUTCOME_RETRY)
			break;
	}
	if (ans.ctx.outcome == OUTCOME_WAIT) {
		wait_outside(f);
		return;
	}
	if (ans.ctx.outcome != OUTCOME_LOAD) {
		raise_fault(f, &ans.ctx);
		return;
	}
	context_load(f, &ans.ctx);
	if (ans.ctx.debug & DEBUG_PENDING)
		raise_single_step(f);
}
