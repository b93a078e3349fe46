/* SPDX-License-Identifier: Apache-2.0 */
	.text
/* uint64_t own_enter(struct op *op, uint64_t tcs) */
	.globl	own_enter, own_site, own_back, own_aep
own_enter:
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	sub	$24, %rsp
	mov	%rsp, %rbp
	mov	%rsp, own_stack(%rip)
	mov	%rbp, own_stack+8(%rip)
	mov	%rsi, %rbx
	lea	own_aep(%rip), %rcx
	mov	$2, %eax
	/* Nothing of this may come out of an asynchronous exit. */
	mov	$0x5555, %edx
	mov	%rdx, %r8
	mov	%rdx, %r12
	mov	%rdx, %r15
own_site:
	enclu
own_back:
	mov	%rcx, %rax
	add	$24, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret
own_aep:
	enclu
	ud2

.macro low_half what
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	\what	\n
	.endr
.endm
.macro high_half what
	.irp	n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	\what	\n
	.endr
.endm
.macro load_64 n
	vmovdqu64 64 * \n(%rdx), %zmm\n
.endm
.macro store_64 n
	vmovdqu64 %zmm\n, 64 * \n(%rbx)
.endm
.macro load_32 n
	vmovdqu	64 * \n(%rdx), %ymm\n
.endm
.macro store_32 n
	vmovdqu	%ymm\n, 64 * \n(%rbx)
.endm
.macro load_16 n
	movdqu	64 * \n(%rdx), %xmm\n
.endm
.macro store_16 n
	movdqu	%xmm\n, 64 * \n(%rbx)
.endm

/* uint64_t own_enter_flags(op, tcs, rflags): own_enter with these RFLAGS; those that
 * EEXIT leaves. */
	.globl	own_enter_flags
own_enter_flags:
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsi, %rbx
	lea	own_aep(%rip), %rcx
	mov	$2, %eax
	push	%rdx
	popfq
	enclu
	pushfq
	pop	%rax
	cld
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret

/* uint64_t own_enter_vectors(op, tcs, in, out, bytes): own_enter with vectors from in,
 * which are stored to out at its end. */
	.globl	own_enter_vectors
own_enter_vectors:
	push	%rbx
	mov	%rcx, %rbx
	cmp	$32, %r8d
	ja	1f
	je	2f
	low_half load_16
	call	own_enter
	low_half store_16
	pop	%rbx
	ret
1:	low_half load_64
	high_half load_64
	call	own_enter
	low_half store_64
	high_half store_64
	pop	%rbx
	ret
2:	low_half load_32
	call	own_enter
	low_half store_32
	pop	%rbx
	ret

/* An exit handler for the vDSO: asks own_exit(RSP), then lets own_next be in RDI. */
	.globl	own_handler
own_handler:
	sub	$8, %rsp
	mov	%rcx, %rdi
	call	*own_exit(%rip)
	mov	own_next(%rip), %rdi
	add	$8, %rsp
	ret

/* void own_resume(uint64_t tcs): with the registers of an exit */
	.globl	own_resume
own_resume:
	mov	%rdi, %rbx
	lea	own_aep(%rip), %rcx
	mov	$3, %eax
	jmp	own_aep

/* int vdso_saved(function, op, leaf, run): the vDSO's function, called with what C has
 * in registers put aside: an asynchronous exit leaves zero in R12 to R15. */
	.globl	vdso_saved
vdso_saved:
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rdi, %rax
	mov	%rsi, %rdi
	push	%rcx
	mov	%edx, %ecx
	xor	%esi, %esi
	xor	%edx, %edx
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	call	*%rax
	add	$8, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret

/* uint64_t wild_enclu(const struct wild *regs) */
	.globl	wild_enclu, wild_site
wild_enclu:
	push	%rbx
	mov	%rdi, %r8
	mov	0(%r8), %rax
	mov	8(%r8), %rbx
	mov	16(%r8), %rcx
	mov	24(%r8), %rdx
	mov	32(%r8), %rsi
	mov	40(%r8), %rdi
wild_site:
	enclu
	pop	%rbx
	ret

	.bss
	.globl	own_stack, own_exit, own_next
	.balign	8
own_exit:
	.skip	8
own_next:
	.skip	8
own_stack:
	.skip	16

	.section .note.GNU-stack, "", @progbits
