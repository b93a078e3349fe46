/* SPDX-License-Identifier: Apache-2.0
 *
 * The vDSO image that programs under softsgx see: __vdso_sgx_enter_enclave by the
 * interface of Linux's Documentation/x86/sgx.rst and <asm/sgx.h>, and the machine's
 * own time functions, passed on.
 */
#include "gen_abi.h"

#define RUN_TCS 0
#define RUN_FUNCTION 8
#define RUN_VECTOR 12
#define RUN_ERROR 14
#define RUN_ADDRESS 16
#define RUN_HANDLER 24
#define RUN_RESERVED 40
#define RUN_END 256
#define EENTER 2
#define ERESUME 3
#define EEXIT 4
#define MINUS_EINVAL -22

	.text
	.globl __vdso_sgx_enter_enclave
	.type __vdso_sgx_enter_enclave, @function
	.globl sgx_enclu, sgx_fault
	.hidden sgx_enclu, sgx_fault
/* RDI, RSI, RDX, R8, R9 belong to the enclave; ECX is the leaf; 8(%rsp) is the run. */
__vdso_sgx_enter_enclave:
	.cfi_startproc
	push %rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	mov %rsp, %rbp
	.cfi_def_cfa_register %rbp
	push %rbx
	.cfi_rel_offset %rbx, -8
	mov %ecx, %eax
enter:
	cmp $EENTER, %eax
	jb refuse
	cmp $ERESUME, %eax
	ja refuse
	mov 16(%rbp), %rcx
	/* The reserved tail of the run must be zero. */
	mov $RUN_RESERVED, %ebx
1:	cmpq $0, (%rcx,%rbx)
	jne refuse
	add $8, %ebx
	cmp $RUN_END, %ebx
	jne 1b
	mov RUN_TCS(%rcx), %rbx
	lea sgx_enclu(%rip), %rcx
sgx_enclu:
	.byte 0x0f, 0x01, 0xd7
	mov 16(%rbp), %rbx
	movl $EEXIT, RUN_FUNCTION(%rbx)
left:
	cmpq $0, RUN_HANDLER(%rbx)
	jne handle
	xor %eax, %eax
leave:
	pop %rbx
	leave
	.cfi_remember_state
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_restore_state
refuse:
	mov $MINUS_EINVAL, %eax
	jmp leave
sgx_fault:
	mov 16(%rbp), %rbx
	mov %eax, RUN_FUNCTION(%rbx)
	mov %di, RUN_VECTOR(%rbx)
	mov %si, RUN_ERROR(%rbx)
	mov %rdx, RUN_ADDRESS(%rbx)
	jmp left
handle:
	/* int handler(rdi, rsi, rdx, rsp at the exit, r8, r9, run).  RSP is as the exit
	 * left it, here and for what follows: an enclave may keep things below it. */
	mov %rsp, %rcx
	mov %rbx, %rax
	mov %rsp, %rbx
	and $-16, %rsp
	push %rax
	push %rax
	cld
	mov RUN_HANDLER(%rax), %rax
	lfence
	call *%rax
	mov %rbx, %rsp
	test %eax, %eax
	jle leave
	jmp enter
	.cfi_endproc
	.size __vdso_sgx_enter_enclave, . - __vdso_sgx_enter_enclave

/* Where the program's signal handlers return to, RSP at the ucontext.  Unwinders look an
 * address before it up, and find where each register was saved. */
#define UC_RSP 160
.macro saved register, offset
	.cfi_escape 0x10, \register, 3, 0x77, (\offset & 0x7f) | 0x80, \offset >> 7
.endm
	.globl sgx_restorer
	.hidden sgx_restorer
	.cfi_startproc
	.cfi_signal_frame
	.cfi_escape 0x0f, 4, 0x77, (UC_RSP & 0x7f) | 0x80, UC_RSP >> 7, 0x06
	saved 8, 40
	saved 9, 48
	saved 10, 56
	saved 11, 64
	saved 12, 72
	saved 13, 80
	saved 14, 88
	saved 15, 96
	saved 5, 104	/* RDI */
	saved 4, 112	/* RSI */
	saved 6, 120	/* RBP */
	saved 3, 128	/* RBX */
	saved 1, 136	/* RDX */
	saved 0, 144	/* RAX */
	saved 2, 152	/* RCX */
	saved 16, 168	/* RIP */
	nop
sgx_restorer:
	movabs $(AGENT_BASE + RESTORER_OFFSET), %rax
	jmp *%rax
	.cfi_endproc

.macro pass name
	.globl __vdso_\name
	.type __vdso_\name, @function
	.weak \name
	.type \name, @function
__vdso_\name:
\name:
	jmp *slot_\name(%rip)
	.size __vdso_\name, . - __vdso_\name
	.size \name, . - \name
.endm
	pass clock_gettime
	pass gettimeofday
	pass time
	pass getcpu
	pass clock_getres

	.section .slots, "ax", @progbits
	.globl vdso_slots
	.hidden vdso_slots
	.balign 8
vdso_slots:
slot_clock_gettime:	.quad 0
slot_gettimeofday:	.quad 0
slot_time:		.quad 0
slot_getcpu:		.quad 0
slot_clock_getres:	.quad 0

	.section .note.GNU-stack, "", @progbits
