/* SPDX-License-Identifier: Apache-2.0
 *
 * System calls about paths that come by a jump instead of a signal (host/shortcut.c).  The
 * state is the program's at its SYSCALL, but RCX is where it goes on, and R11 is free; the
 * instruction before RCX is a SYSCALL that traps.  Whoever is not sure goes there.
 */
#include "gen_abi.h"

#define REDZONE 128
#define SLOTS 48		/* struct path_slots */
#define ROOM 1536		/* of the program's stack, for all that runs on it */
#define FRAME 256		/* struct k_sigcontext, with what shortcut_gate reads */
#define RFLAGS_ODD 0x40500	/* AC, DF, TF */

	.section .text.entry, "ax"
	.globl agent_shortcut, agent_shortcut_probed, agent_shortcut_ready
	.globl agent_shortcut_end
agent_shortcut:
	mov shortcuts_off(%rip), %r11d
	or nr_deferred(%rip), %r11d
	jnz 1f
/* Where a stack ends the kernel's call needs none of it: a fault here traps instead. */
	orb $0, -1(%rsp)
	orb $0, -ROOM(%rsp)
agent_shortcut_probed:
	lea -REDZONE(%rsp), %rsp
	pushfq
	pop %r11
	lea -SLOTS(%rsp), %rsp
	mov %rcx, (%rsp)
	mov %rax, 8(%rsp)
	mov %rdi, 16(%rsp)
	mov %rsi, 24(%rsp)
	mov %rdx, 32(%rsp)
	mov %r10, 40(%rsp)
	test $RFLAGS_ODD, %r11d
	jnz 2f
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
	add $FRAME, %rsp
	pop %r9
	pop %r8
	mov (%rsp), %rcx
	mov 8(%rsp), %rax
	mov 16(%rsp), %rdi
	mov 24(%rsp), %rsi
	mov 32(%rsp), %rdx
	mov 40(%rsp), %r10
/* From here on as in the gates themselves: a signal that finds us here puts us back to the
 * SYSCALL, by the slots on top of the stack.  One that came before waits. */
agent_shortcut_ready:
	test %r11, %r11
	jz 2f
	cmpl $0, nr_deferred(%rip)
	jne 2f
	jmp *%r11
2:	lea REDZONE + SLOTS(%rsp), %rsp
agent_shortcut_end:
1:	lea -2(%rcx), %r11
	jmp *%r11

	.section .note.GNU-stack, "", @progbits
