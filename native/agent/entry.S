/* SPDX-License-Identifier: Apache-2.0
 *
 * The few places where the agent needs registers by name.
 */
#include "gen_abi.h"

#define NR_rt_sigreturn 15
#define REDZONE 128

	.section .text.entry, "ax"

/* The kernel calls us with RDI = signal, RSI = siginfo, RDX = context and RSP at a
 * return address that is agent_kernel_restorer. */
	.globl agent_entry
agent_entry:
	cld
	jmp agent_signal

	.globl agent_kernel_restorer
agent_kernel_restorer:
	mov $NR_rt_sigreturn, %eax
	syscall
	ud2

/* void agent_sigreturn(struct k_ucontext *uc) */
	.globl agent_sigreturn
agent_sigreturn:
	mov %rdi, %rsp
	mov $NR_rt_sigreturn, %eax
	syscall
	ud2

/* A program's handler returns here with RSP at its context. */
	.globl agent_restorer
agent_restorer:
	mov %rsp, %rdi
	cld
	sub $REDZONE, %rsp
	and $-16, %rsp
	call agent_return
	ud2

/* long agent_copy(void *to, const void *from, u64 size); a fault in here makes the
 * signal handler continue at agent_copy_fault. */
	.globl agent_copy, agent_copy_begin, agent_copy_end, agent_copy_fault
	.globl agent_copy_string
agent_copy_begin:
agent_copy:
	mov %rdx, %rcx
	rep movsb
	xor %eax, %eax
	ret
/* long agent_copy_string(char *to, const char *from, u64 size) */
agent_copy_string:
	xor %eax, %eax
1:	cmp %rdx, %rax
	je 2f
	movb (%rsi,%rax), %cl
	movb %cl, (%rdi,%rax)
	inc %rax
	test %cl, %cl
	jnz 1b
	dec %rax
2:	ret
agent_copy_end:
agent_copy_fault:
	mov $-14, %rax
	ret

/* A system call of the program's, made again from here, where the filter lets it
 * through.  RSP = the program's RSP - 128 - 8 - the slots named below; the program's
 * return address is on top, so that nothing of the program's is changed by the
 * detour but the bytes under its red zone. */
	.globl agent_reissue, agent_reissue_rdi, agent_reissue_r10
	.globl agent_reissue_r8, agent_reissue_r9
agent_reissue:
	syscall
	ret $REDZONE
.macro reissue reg
agent_reissue_\reg:
	syscall
	mov 8(%rsp), %\reg
	ret $(REDZONE + 8)
.endm
	reissue rdi
	reissue r10
	reissue r8
	reissue r9
	.globl agent_reissue_end
agent_reissue_end:

/* Where the injector starts us: RSP is a usable stack; end with a breakpoint. */
	.globl agent_start
agent_start:
	call agent_init
	int3
	ud2

	.section .note.GNU-stack, "", @progbits

	.text
/* long agent_set_altstack(const struct k_stack *stack, u64 sp) */
	.globl agent_set_altstack
agent_set_altstack:
	mov %rsp, %r8
	mov %rsi, %rsp
	xor %esi, %esi
	mov $131, %eax
	syscall
	mov %r8, %rsp
	ret
