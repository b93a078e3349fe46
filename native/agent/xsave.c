/* SPDX-License-Identifier: Apache-2.0
 *
 * Extended state between a signal's frame and the state save area, both in the standard
 * format: the fast twin of softsgx.machine.xsave.
 */
#include "agent.h"

#define FCW 0
#define FSW 2
#define MXCSR 24
#define X87_SIZE 160		/* with MXCSR and its mask in the middle */
#define LEGACY_SIZE 416		/* x87 and SSE part of the FXSAVE image */
#define XCOMP_BV 520
#define HEADER_USED 24		/* XSTATE_BV, and what must be zero behind it */
#define FCW_INIT 0x37f
#define FCW_AFTER_MF 0x37e
#define FSW_AFTER_MF 0x8081
#define MXCSR_INIT 0x1f80
#define MXCSR_AFTER_XM 0x1f01
#define MXCSR_RESERVED 0xffff0000 /* more than the processor's: then the model decides */
#define XFEATURES_LEGACY 3	/* bits that Linux sets in every frame */
#define FIRST_EXTENDED 2
#define LAST_EXTENDED 20

static struct {
	u32 known, size, offset;
} component[LAST_EXTENDED + 1];

static void know_component(u32 i)
{
	u32 a = 0x0d, b = 0, c = i, d = 0;

	native_cpuid(&a, &b, &c, &d);
	component[i].size = a;
	component[i].offset = b;
	__atomic_store_n(&component[i].known, 1, __ATOMIC_RELEASE);
}

/* A component above SSE in the standard format; size 0: the processor has none. */
static u32 know(u32 i)
{
	if (!component[i].known)
		know_component(i);
	return component[i].size;
}

/* XSAVE under XFRM, into our mapping of the frame: a component that is in its INIT state
 * is written as such, and the header says so. */
void xsave_store(const u8 *fp, u8 *ssa, u64 xfrm)
{
	u64 header[HEADER_USED / 8] = {*(const u64 *)(fp + XSTATE_BV) & xfrm};

	memcpy(ssa, fp, LEGACY_SIZE);
	memcpy(ssa + XSTATE_BV, header, sizeof(header));
	for (u32 i = FIRST_EXTENDED; i <= LAST_EXTENDED; i++) {
		u32 offset;

		if (!(xfrm >> i & 1) || !know(i))
			continue;
		offset = component[i].offset;
		if (header[0] >> i & 1)
			memcpy(ssa + offset, fp + offset, component[i].size);
		else
			memset(ssa + offset, 0, component[i].size);
	}
}

/* What an exit leaves of the components of XFRM: INIT, with what tells the host of #MF
 * or #XM.  The bytes go as well: the program's handler can read the frame. */
void xsave_synthetic(u8 *fp, u64 xfrm, u32 vector)
{
	u64 *bv = (u64 *)(fp + XSTATE_BV);

	memset(fp, 0, MXCSR);
	memset(fp + MXCSR + 8, 0, LEGACY_SIZE - MXCSR - 8);
	*(u16 *)(fp + FCW) = FCW_INIT;
	*(u32 *)(fp + MXCSR) = MXCSR_INIT;
	for (u32 i = FIRST_EXTENDED; i <= LAST_EXTENDED; i++)
		if ((xfrm >> i & 1) && know(i))
			memset(fp + component[i].offset, 0, component[i].size);
	*bv = (*bv & ~xfrm) | XFEATURES_LEGACY;
	if (vector == VECTOR_MF) {
		*(u16 *)(fp + FCW) = FCW_AFTER_MF;
		*(u16 *)(fp + FSW) = FSW_AFTER_MF;
	} else if (vector == VECTOR_XM) {
		*(u32 *)(fp + MXCSR) = MXCSR_AFTER_XM;
	}
}

static int load_components(u8 *fp, const u8 *ssa, u64 which)
{
	for (u32 i = FIRST_EXTENDED; i <= LAST_EXTENDED; i++)
		if ((which >> i & 1) && know(i) &&
		    agent_copy(fp + component[i].offset, ssa + component[i].offset,
			       component[i].size))
			return 0;
	return 1;
}

/* XRSTOR under XFRM, from the program's mapping; 0 before anything is changed if the
 * header or MXCSR might fault: that is for the model. */
int xsave_load(u8 *fp, u64 ssa, u64 xfrm)
{
	u64 header[HEADER_USED / 8], *bv = (u64 *)(fp + XSTATE_BV);
	u8 legacy[LEGACY_SIZE];

	if (agent_copy(header, (void *)(ssa + XSTATE_BV), sizeof(header)) ||
	    agent_copy(legacy, (void *)ssa, sizeof(legacy)))
		return 0;
	if (header[1] || header[2] || (header[0] & ~xfrm) ||
	    (*(u32 *)(legacy + MXCSR) & MXCSR_RESERVED))
		return 0;
	if (!load_components(fp, (u8 *)ssa, header[0]))
		return 0;
	memcpy(fp, legacy, LEGACY_SIZE);
	*bv = (*bv & ~xfrm) | header[0];
	return 1;
}
