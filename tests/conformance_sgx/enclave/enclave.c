/* SPDX-License-Identifier: Apache-2.0 */
/* Does one thing at a time, as asked, so that its host can watch what happens. */
#include "../../../examples/hello/arch.h"
#include "../../../examples/hello/runtime.h"
#include "ops.h"

#define EGETKEY 1
#define EACCEPTCOPY 7
#define GPRSGX_SIZE 184
#define GPRSGX_RIP 136
#define GPRSGX_EXITINFO 160
#define EXITINFO_UD 0x80000306u
#define TCS_FIELDS 72
#define RFLAGS_HELD 0xcd7 /* CF PF AF ZF SF DF OF and the bit that is always 1 */

extern char enclave_base[], areas[], entry[];
uint64_t forbidden(uint64_t n, struct stub *which);
void spin(const struct state *in, struct state *out, struct op *op);
void do_spin(struct op *op);
void state_request(struct op *op, uint8_t *area);

struct leaf {
	uint64_t rax, rbx, rcx, rdx;
};

static void enclu(struct op *op, struct leaf leaf)
{
	__asm__ volatile("enclu\n\tpushfq\n\tpopq %1"
			 : "+a"(leaf.rax), "=r"(op->flags)
			 : "b"(leaf.rbx), "c"(leaf.rcx), "d"(leaf.rdx)
			 : "memory", "cc");
	op->result = leaf.rax;
}

static void enclu_secinfo(struct op *op, uint64_t leaf, uint64_t rdx)
{
	struct secinfo secinfo = { .flags = op->size };

	enclu(op, (struct leaf){ leaf, (uint64_t)&secinfo, op->address, rdx });
}

static int same(const void *a, const void *b, uint64_t size)
{
	const uint8_t *left = a, *right = b;

	while (size && *left == *right)
		left++, right++, size--;
	return size == 0;
}

/* A vector's width is what XFRM makes the enclave save. */
static int same_state(const struct state *in, const struct state *out)
{
	uint64_t width = XFRM & 0xe0 ? 64 : XFRM & 4 ? 32 : 16;

	for (int i = 0; i < 16; i++)
		if (i != 1 && i != 4 && i != 7 && in->gpr[i] != out->gpr[i])
			return 0;
	for (int i = 0; i < (XFRM & 0xe0 ? 32 : 16); i++)
		if (!same(in->vector[i], out->vector[i], width))
			return 0;
	return ((in->rflags ^ out->rflags) & RFLAGS_HELD) == 0;
}

void do_spin(struct op *op)
{
	struct state in, out;
	uint8_t *byte = (uint8_t *)&in;

	memset(&out, 0, sizeof(out));
	for (uint64_t i = 0; i < sizeof(in); i++)
		byte[i] = (uint8_t)(op->value + 31 * i + (i >> 8));
	in.rflags = RFLAGS_HELD;
	spin(&in, &out, op);
	op->result = (uint64_t)same_state(&in, &out);
}

static void do_count(struct op *op)
{
	uint64_t count = 0, sum = 0;

	op->started = 1;
	while (!op->stop)
		sum += ++count;
	op->result = sum == count * (count + 1) / 2 ? count : 0;
}

static void do_bases(struct op *op, uint8_t *area, uint64_t rflags)
{
	uint64_t *out = (uint64_t *)op->data;

	*(uint8_t **)(area + AREA_FS) = area + AREA_FS;
	*(uint8_t **)(area + AREA_GS) = area + AREA_GS;
	__asm__ volatile("mov %%fs:0, %0; mov %%gs:0, %1" : "=r"(out[0]), "=r"(out[1]));
	out[2] = (uint64_t)area - (uint64_t)enclave_base;
	out[3] = rflags;
}

/* EREPORT and EGETKEY take aligned operands inside the enclave. */
static void do_report(struct op *op)
{
	struct targetinfo target;
	struct report made __attribute__((aligned(512)));
	uint8_t data[64] __attribute__((aligned(128)));

	memcpy(&target, op->data, sizeof(target));
	memset(data, (int)op->value, sizeof(data));
	enclu(op, (struct leaf){ EREPORT, (uint64_t)&target, (uint64_t)data,
				 (uint64_t)&made });
	memcpy(op->data, &made, sizeof(made));
}

static void do_key(struct op *op)
{
	uint8_t request[512] __attribute__((aligned(512)));
	uint8_t key[16] __attribute__((aligned(16)));

	memcpy(request, op->data, sizeof(request));
	memset(key, 0, sizeof(key));
	enclu(op, (struct leaf){ EGETKEY, (uint64_t)request, (uint64_t)key, 0 });
	memcpy(op->data, key, sizeof(key));
}

static void do_meet(struct op *op)
{
	volatile uint64_t *met = (volatile uint64_t *)op->address;

	__atomic_add_fetch(met, 1, __ATOMIC_SEQ_CST);
	while (*met < op->value)
		__asm__ volatile("pause");
}

static void do_watch(struct op *op)
{
	volatile uint64_t *at = (volatile uint64_t *)op->address;

	op->started = 1;
	op->result = op->value;
	while (!op->stop) {
		uint64_t found = *at;

		if (found != op->value && (!found || found > op->size))
			op->result = found;
	}
}

static void do_cpuid(struct op *op)
{
	uint32_t *out = (uint32_t *)op->data;

	for (uint64_t n = 0; n < op->value; n++, out += 4)
		__asm__ volatile("cpuid"
				 : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
				 : "a"(op->address + n), "c"(op->size));
}

/* As runtimes do it: the instruction is looked at where it stands. */
static void do_emulate(struct op *op, uint64_t *gpr)
{
	const uint8_t *code = (const uint8_t *)gpr[GPRSGX_RIP / 8];
	uint64_t leaf = gpr[0], subleaf = gpr[1];

	op->result = 0;
	if ((uint32_t)gpr[GPRSGX_EXITINFO / 8] != EXITINFO_UD || code[0] != 0x0f ||
	    code[1] != 0xa2)
		return;
	gpr[0] = leaf + 1;
	gpr[3] = subleaf + 2;
	gpr[1] = 3;
	gpr[2] = 4;
	gpr[GPRSGX_RIP / 8] += 2;
	op->result = 1;
}

__attribute__((visibility("hidden"))) void second(void);
uint64_t second_back;
static uint64_t second_found;

/* Registers as second.S pushed them, the last first: R15 ... RBX, RDX, RCX, RAX. */
void second_half(uint64_t *regs)
{
	const uint8_t *code = (const uint8_t *)second_back;

	second_found += code[0] == 0x0f && code[1] == 0xa2;
	regs[14] = regs[14] + 1;
	regs[11] = regs[13] + 2;
	regs[13] = 3;
	regs[12] = 4;
	second_back += 2;
}

static void do_redirect(struct op *op, uint64_t *gpr)
{
	second_back = gpr[GPRSGX_RIP / 8];
	gpr[GPRSGX_RIP / 8] = (uint64_t)second;
	op->result = second_found;
}

static void do_lookalike(struct op *op)
{
	extern const uint8_t lookalike[] __attribute__((visibility("hidden")));

	op->result = 23;
	memcpy(op->data, lookalike, op->result);
}

static void do_time(struct op *op)
{
	struct stub *stub = (struct stub *)op->data;
	uint64_t before, after;

	stub->size = op->value ? 3 : 2;
	before = op->value ? __builtin_ia32_rdtscp(&(unsigned int){ 0 }) : __builtin_ia32_rdtsc();
	after = op->value ? __builtin_ia32_rdtscp(&(unsigned int){ 0 }) : __builtin_ia32_rdtsc();
	op->result = after > before;
}

/* A copy of what thread 0's TCS was, with the frames of another. */
static void do_tcs(struct op *op)
{
	uint64_t *tcs = (uint64_t *)op->address;
	uint64_t area = (uint64_t)areas - (uint64_t)enclave_base + op->value * AREA;
	const uint64_t fields[TCS_FIELDS / 8] = {
		0, 0, area, (uint64_t)FRAMES << 32, (uint64_t)entry - (uint64_t)enclave_base,
		0, area + AREA_FS, area + AREA_GS, ~0ull,
	};

	memcpy(tcs, fields, sizeof(fields));
}

static void fault(uint64_t what)
{
	if (what == DO_DIVIDE)
		__asm__ volatile("xor %%eax, %%eax; xor %%edx, %%edx; div %%eax"
				 : : : "eax", "edx", "cc");
	else if (what == DO_UNDEFINED)
		__asm__ volatile("ud2");
	else if (what == DO_BREAK)
		__asm__ volatile("int3");
	else
		__asm__ volatile("hlt");
}

static void touch(struct op *op)
{
	volatile uint8_t *byte = (volatile uint8_t *)op->address;

	if (op->what == DO_READ)
		op->result = *byte;
	else if (op->what == DO_WRITE)
		*byte = (uint8_t)op->value;
	else
		((void (*)(void))op->address)();
}

static void secinfo_leaf(struct op *op)
{
	if (op->what == DO_ENCLU)
		enclu_secinfo(op, op->value, 0);
	else
		enclu_secinfo(op, EACCEPTCOPY, op->value);
}

static void interrupted(struct op *op, uint64_t cssa, uint8_t *area)
{
	uint8_t *gpr = area + cssa * PAGE - GPRSGX_SIZE;

	if (op->what == DO_EMULATE)
		do_emulate(op, (uint64_t *)gpr);
	else if (op->what == DO_REDIRECT)
		do_redirect(op, (uint64_t *)gpr);
	else if (op->what == DO_FRAME)
		memcpy(op->data, gpr, GPRSGX_SIZE);
	else
		*(uint64_t *)(gpr + GPRSGX_RIP) += op->value;
}

static void instruction(struct op *op)
{
	switch (op->what) {
	case DO_FORBIDDEN:
		op->result = forbidden(op->value, (struct stub *)op->data);
		break;
	case DO_CPUID:
		do_cpuid(op);
		break;
	case DO_LOOKALIKE:
		do_lookalike(op);
		break;
	case DO_TIME:
		do_time(op);
		break;
	case DO_WATCH:
		do_watch(op);
		break;
	}
}

void request(struct op *op, uint64_t cssa, uint8_t *area, uint64_t rflags)
{
	switch (op->what) {
	case DO_READ:
	case DO_WRITE:
	case DO_CALL:
		touch(op);
		break;
	case DO_ENCLU:
	case DO_COPY:
		secinfo_leaf(op);
		break;
	case DO_DIVIDE:
	case DO_UNDEFINED:
	case DO_BREAK:
	case DO_PROTECTED:
		fault(op->what);
		break;
	case DO_SPIN:
		do_spin(op);
		break;
	case DO_COUNT:
		do_count(op);
		break;
	case DO_FRAME:
	case DO_SKIP:
	case DO_EMULATE:
	case DO_REDIRECT:
		interrupted(op, cssa, area);
		break;
	case DO_BASES:
		do_bases(op, area, rflags);
		break;
	case DO_REPORT:
		do_report(op);
		break;
	case DO_KEY:
		do_key(op);
		break;
	case DO_MEET:
		do_meet(op);
		break;
	case DO_TCS:
		do_tcs(op);
		break;
	case DO_LEAF:
		enclu(op, *(struct leaf *)op->data);
		break;
	default:
		instruction(op);
		state_request(op, area);
	}
}
