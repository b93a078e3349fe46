/* SPDX-License-Identifier: Apache-2.0
 *
 * The general registers between a signal's frame, our context and GPRSGX, which all
 * order them in their own way.
 */
#include "agent.h"

void gpr_store_context(const struct k_sigcontext *mc, struct abi_context *ctx)
{
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
	ctx->rip = mc->rip;
	ctx->rflags = mc->rflags;
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

void gpr_save(const struct k_sigcontext *mc, u8 *gpr)
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
