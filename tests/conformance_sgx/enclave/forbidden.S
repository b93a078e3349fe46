/* SPDX-License-Identifier: Apache-2.0 */
/* uint64_t forbidden(uint64_t n, struct stub *which): execute the n-th instruction that
 * an enclave does not have, with operands that are good outside one.  Returns 1 if it
 * ran, 0 if it was stepped over; `which` says before where it stands. */
#include "ops.h"

#define FIRST_QUIET 19
#define QUIET 10
#define QUIET_SIZE 16

	.text
	.globl	forbidden
forbidden:
	push	%rbp
	push	%rbx
	mov	%rsp, %rbp
	and	$-16, %rsp
	/* What IRET and far RET would pop, and far JMP and CALL would load. */
	mov	%ss, %eax
	push	%rax
	push	%rbp
	pushfq
	mov	%cs, %eax
	push	%rax
	lea	ran(%rip), %rax
	push	%rax
	lea	stubs(%rip), %rax
	shl	$4, %rdi
	mov	%rdi, %r8
	mov	(%rax,%rdi), %r10
	mov	8(%rax,%rdi), %r11
	add	%rax, %r10
	mov	%r10, 0(%rsi)
	mov	%r11, 8(%rsi)
	mov	%rsp, %rbx		/* the operand in memory */
	lea	-256(%rbp), %rdi
	lea	-256(%rbp), %rsi
	xor	%edx, %edx
	xor	%eax, %eax
	mov	$HELD, %ecx
	/* Those that do not trap by themselves are gone to directly. */
	.set	n, FIRST_QUIET
	.rept	QUIET
	cmp	$n * 16, %r8d
	je	quiet + (n - FIRST_QUIET) * QUIET_SIZE
	.set	n, n + 1
	.endr
	jmp	*%r10
ran:	mov	$1, %eax
	jmp	out
back:	xor	%eax, %eax
out:	mov	%rbp, %rsp
	pop	%rbx
	pop	%rbp
	ret

.macro stub code:vararg
	.pushsection .rodata
	.quad	1f - stubs, 2f - 1f
	.popsection
1:	\code
2:	jmp	back
.endm

	.section .rodata
	.balign	8
stubs:
	.text
	stub	in	%dx, %al
	stub	in	$0x80, %eax
	stub	out	%al, %dx
	stub	outl	%eax, $0x80
	stub	rep insb
	stub	rep outsl
	stub	int	$0x80
	stub	int	$0x21
	stub	.byte	0xcd, 3
	stub	int	$4
	stub	syscall
	stub	rdpmc
	stub	getsec
	stub	vmfunc
	/* With a selector that is none, which outside is another fault. */
	stub	mov	%ecx, %ds
	stub	.byte	0x48, 0x0f, 0xb2, 0x03	/* lss (%rbx), %rax */
	/* With an operand in memory that is not there. */
	stub	mov	0, %es
	stub	rex.w ljmp *0
	stub	.byte	0x66, 0x64, 0xf3, 0xed	/* prefixes; in %dx, %ax */

.macro silent code:vararg
	.balign	QUIET_SIZE, 0x90
	stub	\code
.endm

	.balign	QUIET_SIZE, 0x90
quiet:
	silent	sysenter
	silent	vmcall
	silent	vmmcall
	silent	sgdt	(%rdi)
	silent	sidt	8(%rdi)
	silent	sldt	%eax
	silent	str	%rax
	silent	smsw	%eax
	silent	.byte	0x0f, 0xa1	/* pop %fs */
	silent	.byte	0x0f, 0xa9	/* pop %gs */

	.section .note.GNU-stack, "", @progbits
