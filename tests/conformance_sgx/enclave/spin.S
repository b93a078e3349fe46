/* SPDX-License-Identifier: Apache-2.0 */
/* void spin(const struct state *in, struct state *out, struct op *op): load every
 * register, wait for op->stop without touching one, store every register. */
#include "ops.h"

.macro load_vector n
#if XFRM & 0xe0
	vmovdqu64 STATE_VECTORS + 64 * \n(%rdi), %zmm\n
#elif XFRM & 4
	vmovdqu	STATE_VECTORS + 64 * \n(%rdi), %ymm\n
#else
	movdqu	STATE_VECTORS + 64 * \n(%rdi), %xmm\n
#endif
.endm
.macro store_vector n
#if XFRM & 0xe0
	vmovdqu64 %zmm\n, STATE_VECTORS + 64 * \n(%rcx)
#elif XFRM & 4
	vmovdqu	%ymm\n, STATE_VECTORS + 64 * \n(%rcx)
#else
	movdqu	%xmm\n, STATE_VECTORS + 64 * \n(%rcx)
#endif
.endm
.macro each what
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	\what	\n
	.endr
#if XFRM & 0xe0
	.irp	n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	\what	\n
	.endr
#endif
.endm

	.text
	.globl	spin
spin:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rsi
	each	load_vector
	push	%rdx
	pushq	STATE_FLAGS(%rdi)
	mov	8 * 0(%rdi), %rax
	mov	8 * 2(%rdi), %rdx
	mov	8 * 3(%rdi), %rbx
	mov	8 * 5(%rdi), %rbp
	mov	8 * 6(%rdi), %rsi
	mov	8 * 8(%rdi), %r8
	mov	8 * 9(%rdi), %r9
	mov	8 * 10(%rdi), %r10
	mov	8 * 11(%rdi), %r11
	mov	8 * 12(%rdi), %r12
	mov	8 * 13(%rdi), %r13
	mov	8 * 14(%rdi), %r14
	mov	8 * 15(%rdi), %r15
	mov	8(%rsp), %rdi
	movq	$1, OP_STARTED(%rdi)
	popfq
1:	mov	OP_STOP(%rdi), %rcx
	jrcxz	1b
	mov	8(%rsp), %rcx		/* out */
	mov	%rax, 8 * 0(%rcx)
	mov	%rdx, 8 * 2(%rcx)
	mov	%rbx, 8 * 3(%rcx)
	mov	%rbp, 8 * 5(%rcx)
	mov	%rsi, 8 * 6(%rcx)
	mov	%r8, 8 * 8(%rcx)
	mov	%r9, 8 * 9(%rcx)
	mov	%r10, 8 * 10(%rcx)
	mov	%r11, 8 * 11(%rcx)
	mov	%r12, 8 * 12(%rcx)
	mov	%r13, 8 * 13(%rcx)
	mov	%r14, 8 * 14(%rcx)
	mov	%r15, 8 * 15(%rcx)
	pushfq
	popq	STATE_FLAGS(%rcx)
	cld
	each	store_vector
	pop	%rdx
	pop	%rsi
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

	.section .note.GNU-stack, "", @progbits
