/* SPDX-License-Identifier: Apache-2.0
 *
 * clone3 of the program's, made again from here.  Its child may have another stack, and
 * may run when its parent has long gone on: so where the two return to lies in a word that
 * belongs to the place of the call, and each place has code of its own here.  Flags stay
 * as they are.
 */
#include "clone.h"
#include "entry.h"
#include "gen_abi.h"

#define NR_rt_sigprocmask 14
#define SIG_SETMASK 2

	.text
	.globl agent_clone, agent_clone_end, agent_cloned_back, agent_cloned_end
	.balign CLONE_SITE_SIZE
agent_clone:
	.set	n, 0
	.rept	CLONE_SITES
	.balign CLONE_SITE_SIZE
	syscall
	jmp	*clone_sites + 8 * n(%rip)
	.balign CLONE_CLEARING
	syscall
	mov	%rax, %rcx
	jrcxz	1f
	jmp	*clone_sites + 8 * n(%rip)
1:	lea	8 - CLONE_SLOTS - REDZONE(%rsp), %rsp
	push	clone_sites + 8 * n(%rip)
	jmp	cloned
	.set	n, n + 1
	.endr
agent_clone_end:

/* A child whose handlers the kernel took away, the agent's with them.  RSP is at the slots
 * on its own stack; no signal of ours can come before the last call. */
cloned:
	mov	%rdi, 8(%rsp)
	mov	%rsi, 16(%rsp)
	mov	%rdx, 24(%rsp)
	mov	%r10, 32(%rsp)
	pushfq
	sane_flags
	push	%r8
	push	%r9
	push	%rbx
	mov	%rsp, %rbx
	and	$-16, %rsp
	call	clone_cleared
	mov	%rbx, %rsp
	pop	%rbx
	pop	%r9
	pop	%r8
	popfq
	mov	%rax, 40(%rsp)
	mov	$SIG_SETMASK, %edi
	lea	40(%rsp), %rsi
	mov	$0, %edx
	mov	$8, %r10d
	mov	$NR_rt_sigprocmask, %eax
	syscall
agent_cloned_back:
	mov	$0, %eax
	mov	8(%rsp), %rdi
	mov	16(%rsp), %rsi
	mov	24(%rsp), %rdx
	mov	32(%rsp), %r10
	ret	$(REDZONE + CLONE_SLOTS - 8)
agent_cloned_end:

	.section .note.GNU-stack, "", @progbits
