/* SPDX-License-Identifier: Apache-2.0 */
/* The enclave's threads and their one entry, which may be entered again while the
 * thread is interrupted: each CSSA has a stack of its own. */
#include "../../../examples/hello/flat.h"
#include "ops.h"

#define PAGE 4096
#define EEXIT 4

	.section .tcs, "aw", @progbits
	.balign	PAGE
	.set	n, 0
	.rept	THREADS
	.quad	0, 0			/* STAGE, FLAGS */
	.quad	areas + n * AREA	/* OSSA */
	.long	0			/* CSSA */
	.if	n == THREADS - 1
	.long	1			/* NSSA */
	.else
	.long	FRAMES
	.endif
	.quad	entry, 0		/* OENTRY, AEP */
	.quad	areas + n * AREA + AREA_FS
	.quad	areas + n * AREA + AREA_GS
	.long	0xffffffff, 0xffffffff	/* FSLIMIT, GSLIMIT */
	.balign	PAGE
	.set	n, n + 1
	.endr

	.section .note.sgx-flat, "a", @note
	.balign	4
	.long	2f - 1f, 4f - 3f, FLAT_NOTE_TYPE
1:	.asciz	FLAT_NOTE_NAME
2:	.balign	4
3:	.long	FLAT_NOTE_VERSION
	.long	1			/* SSAFRAMESIZE */
	.quad	ENCLAVE_SIZE
	.quad	0x4			/* ATTRIBUTES: MODE64BIT */
	.quad	XFRM
	.long	0, 0
4:	.balign	4

	.section .rodata
	.balign	8
	.globl	enclave_size
enclave_size:
	.quad	ENCLAVE_SIZE

	.bss
	.balign	PAGE
	.globl	areas
areas:	.skip	THREADS * AREA

	.text
	.globl	entry
entry:	/* RAX = CSSA, RBX = TCS, RCX = the way back, RDI = request */
	rdgsbase %r11
	sub	$AREA_GS, %r11		/* this thread's area */
	lea	1(%rax), %r10
	imul	$STACK, %r10, %r10
	lea	AREA_STACKS(%r11,%r10), %r10
	xchg	%r10, %rsp
	push	%r10
	push	%rcx
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	pushfq
	pushq	$2
	popfq
	mov	%rax, %rsi
	mov	%r11, %rdx
	mov	(%rsp), %rcx		/* the host's RFLAGS */
	sub	$8, %rsp
	call	request
	add	$8, %rsp
	popfq
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rdx
	pop	%rbx
	pop	%rsp
	xor	%edx, %edx
	mov	$EEXIT, %eax
	enclu
	ud2

	.section .note.GNU-stack, "", @progbits
