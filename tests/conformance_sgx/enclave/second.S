/* SPDX-License-Identifier: Apache-2.0 */
/* Where an interrupted thread is sent, with its registers as they were: the second half
 * of a handler, which runs like any code of the enclave and goes back by a jump. */
	.text
	.globl	second
second:
	lea	-128(%rsp), %rsp	/* the red zone */
	pushfq
	.irp	reg, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	push	%\reg
	.endr
	mov	%rsp, %rdi
	mov	%rsp, %rbx
	and	$-16, %rsp
	cld
	call	second_half
	mov	%rbx, %rsp
	.irp	reg, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
	pop	%\reg
	.endr
	popfq
	lea	128(%rsp), %rsp
	jmp	*second_back(%rip)

/* Among code, bytes that look like the instructions that are forbidden. */
	.globl	lookalike
lookalike:
	.byte	0xb8, 7, 0, 0, 0, 0x66, 0x0f, 0xa2, 0x0f, 0x31, 0x0f, 0x05, 0x0f, 0x34
	.byte	0xf4, 0x06, 0x0f, 0xa2, 0x06, 0xcc, 0x0f, 0x01, 0xd7

	.section .note.GNU-stack, "", @progbits
