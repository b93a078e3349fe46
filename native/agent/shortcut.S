/* SPDX-License-Identifier: Apache-2.0
 *
 * What comes by a jump instead of a signal (host/shortcut.c).  Nothing is held here: a
 * handler of the program's may run in between, and need not return.
 *
 * Where a stack ends the program's instruction would need none of it: what touches the
 * stack first may fault, and then shortcut_probe does what a trap does.
 */
#include "entry.h"
#include "gen_abi.h"

#define SLOTS 48		/* struct path_slots */
#define ROOM 1536		/* of the program's stack, for all that runs on it */
#define FRAME 256		/* struct k_sigcontext, with what shortcut_gate reads */
#define RFLAGS_ODD 0x40500	/* AC, DF, TF */

	.section .text.entry, "ax"
	.globl agent_shortcut, agent_shortcut_probed, agent_shortcut_done
	.globl agent_cpuid, agent_cpuid_probed

/* A system call about a path.  The state is the program's at its SYSCALL, but RCX is where
 * it goes on, R11 is free, and so are the flags; the instruction before RCX is a SYSCALL
 * that traps.  Whoever is not sure goes there. */
agent_shortcut:
	mov shortcuts_off(%rip), %r11d
	test %r11d, %r11d
	jnz 2f
	mov %r11b, -REDZONE - 1(%rsp)
	mov %r11b, -ROOM(%rsp)
agent_shortcut_probed:
	lea -REDZONE(%rsp), %rsp
	pushfq
	pop %r11
	lea -SLOTS(%rsp), %rsp
	test $RFLAGS_ODD, %r11d
	jnz 1f
	mov %rcx, (%rsp)
	mov %rax, 8(%rsp)
	mov %rdi, 16(%rsp)
	mov %rsi, 24(%rsp)
	mov %rdx, 32(%rsp)
	mov %r10, 40(%rsp)
	push %r8
	push %r9
	sub $FRAME, %rsp
	mov %r10, 16(%rsp)
	mov %rdi, 64(%rsp)
	mov %rsi, 72(%rsp)
	mov %rdx, 96(%rsp)
	mov %rax, 104(%rsp)
	mov %rsp, %rdi
	call shortcut_gate
	mov %rax, %r11
	mov 104(%rsp), %rax
	add $FRAME, %rsp
	pop %r9
	pop %r8
	mov (%rsp), %rcx
	mov 16(%rsp), %rdi
	mov 24(%rsp), %rsi
	mov 32(%rsp), %rdx
	mov 40(%rsp), %r10
	test %r11, %r11
	jz 1f
	jmp *%r11	/* a gate, which finds its slots on the stack */
agent_shortcut_done:
	lea REDZONE + SLOTS(%rsp), %rsp
	jmp *%rcx
1:	lea REDZONE + SLOTS(%rsp), %rsp
2:	lea -2(%rcx), %r11
	jmp *%r11

/* A CPUID.  RDX is where the program goes on, RBX is free. */
agent_cpuid:
	mov %bl, -REDZONE - 1(%rsp)
	mov %bl, -ROOM(%rsp)
agent_cpuid_probed:
	lea -REDZONE(%rsp), %rsp
	push %rdx
	pushfq
	sane_flags
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	sub $16, %rsp
	mov %eax, (%rsp)
	mov %ecx, 8(%rsp)
	mov %rsp, %rdi
	call shortcut_cpuid
	mov (%rsp), %eax
	mov 4(%rsp), %ebx
	mov 8(%rsp), %ecx
	mov 12(%rsp), %edx
	add $16, %rsp
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	popfq
	ret $REDZONE

	.section .note.GNU-stack, "", @progbits
