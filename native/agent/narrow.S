/* SPDX-License-Identifier: Apache-2.0
 *
 * XGETBV and the XSAVE family, in the order of enum state_stub: each executes for an
 * enclave with a smaller mask, on the area at RDI, and ends with a trap.  See narrow.c.
 */
	.section .text, "ax"

.macro stub instruction:vararg
	.balign 16
	\instruction
	hlt
.endm

	.globl agent_state, agent_state_end
	.balign 16
agent_state:
	stub xsave (%rdi)
	stub xsave64 (%rdi)
	stub xrstor (%rdi)
	stub xrstor64 (%rdi)
	stub xsaveopt (%rdi)
	stub xsaveopt64 (%rdi)
	stub xsavec (%rdi)
	stub xsavec64 (%rdi)
	stub xgetbv
	.balign 16
agent_state_end:

	.section .note.GNU-stack, "", @progbits
