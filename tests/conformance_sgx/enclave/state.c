/* SPDX-License-Identifier: Apache-2.0 */
/* Requests about a thread's state: its frames, bases and flags, and faults of more kinds. */
#include "../../../examples/hello/arch.h"
#include "ops.h"

#define GPRSGX_SIZE 184
#define GPRSGX_AEXNOTIFY 167
#define NON_CANONICAL 0x8000000000000000ul
#define RFLAGS_AC 0x40000

extern char entry[];
void do_spin(struct op *op);
void state_request(struct op *op, uint8_t *area);
uint64_t state_ops(uint64_t n, uint64_t address, uint64_t mask);

static void do_notify(struct op *op, uint8_t *area)
{
	area[PAGE - GPRSGX_SIZE + GPRSGX_AEXNOTIFY] = (uint8_t)op->value;
	*(volatile uint64_t *)(area + AREA_NOTIFIED) = 0;
	do_spin(op);
	area[PAGE - GPRSGX_SIZE + GPRSGX_AEXNOTIFY] = 0;
	op->size = *(volatile uint64_t *)(area + AREA_NOTIFIED);
}

static uint64_t fs_base(void)
{
	uint64_t base;

	__asm__ volatile("rdfsbase %0" : "=r"(base));
	return base;
}

static uint64_t gs_base(void)
{
	uint64_t base;

	__asm__ volatile("rdgsbase %0" : "=r"(base));
	return base;
}

static void set_bases(uint64_t fs, uint64_t gs)
{
	__asm__ volatile("wrfsbase %0; wrgsbase %1" : : "r"(fs), "r"(gs));
}

static void do_set_tf(struct op *op)
{
	uint64_t rflags;

	__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; pushfq; popq %0"
			 : "=r"(rflags) : : "cc", "memory");
	op->result = rflags & 0x100;
}

static void do_own_bases(struct op *op)
{
	uint64_t fs = fs_base(), gs = gs_base();

	set_bases(op->address, op->value);
	op->result = 1;
	op->started = 1;
	do
		op->result &= fs_base() == op->address && gs_base() == op->value;
	while (!op->stop);
	set_bases(fs, gs);
}

/* Each faults with its last instruction, which DO_SKIP can step over. */
static void float_fault(uint64_t what)
{
	static const uint16_t fcw = 0x37b;	/* division by zero is not masked */
	static const uint32_t mxcsr = 0x1d80;

	if (what == DO_X87)
		__asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp; fwait; fninit"
				 : : "m"(fcw));
	else
		__asm__ volatile("ldmxcsr %0; pcmpeqd %%xmm1, %%xmm1; pslld $25, %%xmm1;"
				 "psrld $2, %%xmm1; xorps %%xmm0, %%xmm0;"
				 "divps %%xmm0, %%xmm1"
				 : : "m"(mxcsr));
}

static void address_fault(uint64_t what)
{
	static uint64_t words[2];

	if (what == DO_STACK)
		__asm__ volatile("push %%rbp; mov %0, %%rbp; mov (%%rbp), %%al; pop %%rbp"
				 : : "r"(NON_CANONICAL) : "rax");
	else
		__asm__ volatile("pushfq; orl %1, (%%rsp); popfq; mov %%eax, %0; "
				 "pushfq; andl %2, (%%rsp); popfq"
				 : "=m"(*(uint32_t *)((uint8_t *)words + 1))
				 : "i"(RFLAGS_AC), "i"(~RFLAGS_AC) : "cc");
}

static void words(struct op *op, uint8_t *area)
{
	volatile uint64_t *word = (volatile uint64_t *)op->address;

	if (op->what == DO_LOAD)
		op->result = *word;
	else if (op->what == DO_STORE)
		*word = op->value;
	else if (op->what == DO_AREA)
		op->result = (uint64_t)area;
}

/* The entry keeps the host's RSP on top of the stack of CSSA 0. */
static void do_lower(struct op *op, uint8_t *area)
{
	uint64_t *rsp = (uint64_t *)(area + AREA_STACKS + STACK) - 1;

	op->result = *rsp;
	*rsp -= op->value;
}

void state_request(struct op *op, uint8_t *area)
{
	switch (op->what) {
	case DO_X87:
	case DO_SSE:
		float_fault(op->what);
		break;
	case DO_STACK:
	case DO_MISALIGNED:
		address_fault(op->what);
		break;
	case DO_SET_TF:
		do_set_tf(op);
		break;
	case DO_LOWER:
		do_lower(op, area);
		break;
	case DO_ENTRY:
		op->result = (uint64_t)entry;
		break;
	case DO_STATE:
		op->result = state_ops(op->size, op->address, op->value);
		break;
	case DO_OWN_BASES:
		do_own_bases(op);
		break;
	case DO_NOTIFY:
		do_notify(op, area);
		break;
	default:
		words(op, area);
	}
}
