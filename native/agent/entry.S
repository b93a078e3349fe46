/* SPDX-License-Identifier: Apache-2.0
 *
 * The few places where the agent needs registers by name.
 */
#include "entry.h"
#include "gen_abi.h"

#define NR_munmap 11
#define NR_rt_sigprocmask 14
#define NR_rt_sigreturn 15
#define NR_sigaltstack 131
#define UCONTEXT_RAX 144
#define UCONTEXT_SIZE 304

#define ENOENT 2
#define AT_FDCWD -100
#define NR_readlinkat 267

	.section .text.entry, "ax"

/* A new program makes its call from here, before any of this is: the supervisor puts the
 * agent in, and the call returns to the jump.  RSP is a usable stack, signals are
 * blocked. */
	.globl agent_start
agent_start:
	syscall
	cld
	call agent_init
	ud2

/* The vDSO image leads the program's handlers here. */
	.balign 64
	.globl agent_gate
agent_gate:
	jmp agent_restorer

/* Stubs in the program's code lead here, see shortcut.S. */
	.balign 64
	.globl agent_shortcut_gate
agent_shortcut_gate:
	jmp agent_shortcut
	.balign 64
	.globl agent_cpuid_gate
agent_cpuid_gate:
	jmp agent_cpuid

/* The kernel calls us with RDI = signal, RSI = siginfo, RDX = context and RSP at a
 * return address that nobody uses: the frame to return through lies above it. */
	.globl agent_entry
agent_entry:
	sane_flags
	sub $8, %rsp
	call agent_signal
	add $16, %rsp
	test %eax, %eax
	jz agent_tail
	mov $NR_rt_sigreturn, %eax
	syscall
	ud2

/* Signals that nobody returns to: the kernel wants an address. */
	.globl agent_kernel_restorer
agent_kernel_restorer:
	ud2

/* void agent_sigreturn(struct k_ucontext *uc) */
	.globl agent_sigreturn, agent_border_begin, agent_border_end
	.globl agent_tail, agent_tail_end
agent_border_begin:
agent_sigreturn:
	mov %rdi, %rsp
/* The end of every visit, RSP at the context: a signal that is deferred between the look
 * and the return makes us look again. */
agent_tail:
	cmpl $0, nr_deferred(%rip)
	jne 1f
	cmpq $0, visit_stop(%rip)
	jne 1f
	mov $NR_rt_sigreturn, %eax
	syscall
	ud2
agent_tail_end:
1:	mov %rsp, %rbx
	and $-16, %rsp
	call deferred_return
	mov %rbx, %rsp
	mov $NR_rt_sigreturn, %eax
	syscall
	ud2

/* A program's handler returns here with RSP at its context.  No other signal may come
 * between the steps of the return. */
agent_restorer:
	orb $0, (%rsp)	/* as long as a fault is the program's */
	orb $0, UCONTEXT_SIZE - 1(%rsp)
	mov $NR_rt_sigprocmask, %eax
	xor %edi, %edi
	lea all_signals(%rip), %rsi
	xor %edx, %edx
	mov $8, %r10d
	syscall
	mov %rsp, %rdi
	sub $REDZONE, %rsp
	sane_flags
	and $-16, %rsp
	call agent_return
	ud2
agent_border_end:

/* void agent_leave_stack(struct k_ucontext *uc, u64 start, u64 length): unmap a stack,
 * give its answer to the program. */
	.globl agent_leave_stack
agent_leave_stack:
	mov %rdi, %rsp
	mov %rsi, %rdi
	mov %rdx, %rsi
	mov $NR_munmap, %eax
	syscall
	mov %rax, UCONTEXT_RAX(%rsp)
	jmp agent_tail

/* long agent_copy(void *to, const void *from, u64 size); a fault in here makes the
 * signal handler continue at agent_copy_fault. */
	.globl agent_copy, agent_copy_begin, agent_copy_end, agent_copy_fault
	.globl agent_copy_string, agent_swap
agent_copy_begin:
agent_copy:
	mov %rdx, %rcx
	rep movsb
	xor %eax, %eax
	ret
/* long agent_swap(u64 *at, u64 from, u64 to): 0 if *at was from, and is to now */
agent_swap:
	mov %rsi, %rax
	lock cmpxchg %rdx, (%rdi)
	setne %al
	movzbl %al, %eax
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
/* u64 agent_tsc(void): the thread may have made RDTSC a fault. */
	.globl agent_tsc
agent_tsc:
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	ret
agent_copy_end:
agent_copy_fault:
	mov $-14, %rax
	ret

/* A system call of the program's, made again from here, where the filter lets it
 * through.  RSP = the program's RSP - 128 - 8 - the slots named below; the program's
 * return address is on top, so that nothing of the program's is changed by the
 * detour but the bytes under its red zone. */
	.globl agent_reissue, agent_reissue_rdi, agent_reissue_rsi, agent_reissue_rdx, agent_reissue_r10
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
	reissue rsi
	reissue rdx
	reissue r10
	reissue r8
	reissue r9

/* The same for a path: the first argument, or the second behind a directory.  When there
 * is none, it may be a link of the program's own to a node of ours: if it is a link, or
 * one of our directories may be open, tell by a call that the filter traps from here too.
 * Flags stay as they are.  The slots are those of struct path_slots. */
#define PATH_SLOTS 48
	.globl agent_reissue_path, agent_reissue_at, agent_reissue_look, agent_reissue_end
agent_reissue_path:
	syscall
	lea ENOENT(%rax), %rcx
	jrcxz 1f
	ret $(REDZONE + PATH_SLOTS - 8)
agent_reissue_at:
	syscall
	lea ENOENT(%rax), %rcx
	jrcxz 2f
	ret $(REDZONE + PATH_SLOTS - 8)
agent_reissue_look:
1:	mov %rdi, %rsi
	mov $AT_FDCWD, %rdi
2:	mov views_watched(%rip), %ecx
	jrcxz 3f
	jmp 4f
3:	lea -8(%rsp), %rdx
	mov $1, %r10d
	mov $NR_readlinkat, %eax
	syscall
	lea -1(%rax), %rcx
	jrcxz 4f
	mov 16(%rsp), %rdi
	mov 24(%rsp), %rsi
	mov 32(%rsp), %rdx
	mov 40(%rsp), %r10
	mov $-ENOENT, %rax
	ret $(REDZONE + PATH_SLOTS - 8)
4:	mov $LATE_NR, %eax
	syscall
agent_reissue_end:
	ud2

/* A wait of a debugger's; the agent looks at what it brought (tracer.c).  Nothing is
 * moved when a signal comes between the two calls. */
	.globl agent_reissue_wait, agent_waited_end
agent_reissue_wait:
	syscall
	mov %rax, -8(%rsp)
	mov $WAITED_NR, %eax
	syscall
	ret $(REDZONE + 8)
agent_waited_end:

/* long agent_set_altstack(const struct k_stack *stack, u64 sp) */
	.globl agent_set_altstack
agent_set_altstack:
	mov %rsp, %r8
	mov %rsi, %rsp
	xor %esi, %esi
	mov $NR_sigaltstack, %eax
	syscall
	mov %r8, %rsp
	ret

	.section .rodata
	.balign 8
all_signals:
	.quad -1

	.section .note.GNU-stack, "", @progbits
