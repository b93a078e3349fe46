/* SPDX-License-Identifier: Apache-2.0 */
/* The enclave's threads and their one entry, which may be entered again while the
 * thread is interrupted: each CSSA has a stack of its own. */
#include "../../../examples/hello/flat.h"
#include "ops.h"

#define PAGE 4096
#define EEXIT 4
#define EDECCSSA 9
#ifndef ATTRIBUTES
#define ATTRIBUTES 4	/* MODE64BIT */
#endif
#ifndef TCS_FLAGS
#define TCS_FLAGS 0
#endif
#ifndef MISCSELECT
#define MISCSELECT 0
#endif

	.section .tcs, "aw", @progbits
	.balign	PAGE
	.set	n, 0
	.rept	THREADS
	.quad	0, TCS_FLAGS		/* STAGE, FLAGS */
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
	.quad	ATTRIBUTES
	.quad	XFRM
	.long	MISCSELECT, 0
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
	test	%rdi, %rdi
	jz	notified		/* no request: ERESUME tells of an exit */
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

/* An AEX notification.  The thread works on from its frame, without an ERESUME: its
 * registers go below its red zone, EDECCSSA frees the frame, and a return leads back.
 * Only the last two instructions can be notified of another exit, and they can be done
 * again. */
#define FRAME_AEXNOTIFY (PAGE - 184 + 167)
#define GPR(offset) (PAGE - 184 + offset)
notified:
	movb	$0, FRAME_AEXNOTIFY(%r11)
	incq	AREA_NOTIFIED(%r11)
	mov	$XFRM, %eax
	xor	%edx, %edx
	xrstor64 (%r11)
	mov	GPR(168)(%r11), %rax
	wrfsbase %rax
	mov	GPR(32)(%r11), %rdi	/* RSP */
	sub	$128 + 17 * 8, %rdi
	.set	n, 0
	.irp	offset, 0, 8, 16, 24, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 136
	mov	GPR(\offset)(%r11), %rax
	mov	%rax, n(%rdi)
	.set	n, n + 8
	.endr
	mov	$EDECCSSA, %eax
	enclu
	mov	%rdi, %rsp
	pop	%rax
	pop	%rcx
	pop	%rdx
	pop	%rbx
	pop	%rbp
	pop	%rsi
	pop	%rdi
	pop	%r8
	pop	%r9
	pop	%r10
	pop	%r11
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	popfq
	movb	$1, %gs:FRAME_AEXNOTIFY - AREA_GS
	ret	$128

	.section .note.GNU-stack, "", @progbits
