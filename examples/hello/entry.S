/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The enclave's only door.  EENTER arrives at `entry` with
 *
 *	RAX = CSSA, RBX = the TCS, RCX = the address that EEXIT has to go to
 *
 * and every other register, the stack pointer included, as the host left it.
 */
#include "flat.h"

#ifndef ENCLAVE_SIZE
#define ENCLAVE_SIZE 0x10000
#endif
#define STACK_SIZE 0x4000

	.section .tcs, "aw", @progbits
	.balign	4096
	.quad	0		/* STAGE */
	.quad	0		/* FLAGS */
	.quad	ssa		/* OSSA */
	.long	0		/* CSSA */
	.long	1		/* NSSA: one frame, so no entry while interrupted */
	.quad	entry		/* OENTRY */
	.quad	0		/* AEP */
	.quad	0		/* OFSBASGX */
	.quad	0		/* OGSBASGX */
	.long	0xffffffff	/* FSLIMIT */
	.long	0xffffffff	/* GSLIMIT */
	.balign	4096

	.section .note.sgx-flat, "a", @note
	.balign	4
	.long	2f - 1f, 4f - 3f, FLAT_NOTE_TYPE
1:	.asciz	FLAT_NOTE_NAME
2:	.balign	4
3:	.long	FLAT_NOTE_VERSION
	.long	1		/* SSAFRAMESIZE, in pages */
	.quad	ENCLAVE_SIZE
	.quad	0x4		/* ATTRIBUTES: MODE64BIT */
	.quad	0x3		/* XFRM: x87 and SSE */
	.long	0		/* MISCSELECT */
	.long	0
4:	.balign	4

	.section .rodata
	.balign	8
	.globl	enclave_size
enclave_size:
	.quad	ENCLAVE_SIZE	/* measured with the rest, so the enclave may trust it */

	.bss
	.balign	4096
ssa:	.skip	4096
stack:	.skip	STACK_SIZE
stack_top:

	.text
	.globl	entry
entry:
	test	%rax, %rax
	jnz	leave
	lea	stack_top(%rip), %rax
	xchg	%rax, %rsp
	push	%rax		/* the host's stack */
	push	%rcx		/* the way back */
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	sub	$8, %rsp
	pushq	$2		/* the host's DF and AC would mislead C code */
	popfq
	xor	%ebp, %ebp
	call	enclave_main
	add	$8, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rcx
	pop	%rsp

leave:	/* Nothing of ours may stay in a register: EEXIT clears none. */
	mov	%rcx, %rbx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	mov	$4, %eax	/* EEXIT */
	enclu
	ud2

	.section .note.GNU-stack, "", @progbits
