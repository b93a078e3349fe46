/* SPDX-License-Identifier: Apache-2.0 */
/* uint64_t state_ops(uint64_t n, uint64_t address, uint64_t mask): execute the n-th of
 * these with EDX:EAX = mask, on an area that each reaches in a way of its own.  Returns
 * EDX:EAX as they are then, but XSTATE_BV for the one that has its own area.  For XGETBV
 * ECX is the mask. */
	.text
	.globl	state_ops
state_ops:
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	mov	%rsp, %rbp
	mov	%rdi, %r8
	mov	%edx, %ecx
	mov	%edx, %eax
	shr	$32, %rdx
	mov	%rsi, %rbx
	.set	n, 0
	.rept	11
	cmp	$n, %r8d
	je	ops + n * 64
	.set	n, n + 1
	.endr
	ud2
done:	cmp	%rbp, %rsp
	jne	wrong
	cmp	%rsi, %rbx
	jne	wrong
	cmp	%rdi, %r8
	jne	wrong
out:	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rbp, %rsp
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret
wrong:	ud2

	.balign	64
ops:	xgetbv
	jmp	done
	.balign	64
	xsave	(%rsi)
	jmp	done
	.balign	64
	lea	-64(%rsi), %r9
	mov	$32, %r10d
	xsave64	(%r9, %r10, 2)
	jmp	done
	.balign	64
	xsaveopt 0(%rbx)
	jmp	done
	.balign	64
	lea	0x1000(%rsi), %r13
	xsaveopt64 -0x1000(%r13)
	jmp	done
	.balign	64
	xsavec	(%rsi)
	jmp	done
	.balign	64
	rdgsbase %r11
	sub	%r11, %rsi
	xsavec64 %gs:(%rsi)
	mov	%rbx, %rsi
	jmp	done
	.balign	64
	xrstor	(%rsi)
	jmp	done
	.balign	64
	mov	%rsi, %r12
	xrstor64 (%r12)
	jmp	done
	.balign	64
	xsave64	area(%rip)
	mov	area+512(%rip), %eax
	xor	%edx, %edx
	jmp	done
	.balign	64
	lea	-64(%rsi), %rsp
	xrstor64 64(%rsp)
	mov	%rbp, %rsp
	jmp	done

	.bss
	.balign	64
area:	.skip	4096

	.section .note.GNU-stack, "", @progbits
