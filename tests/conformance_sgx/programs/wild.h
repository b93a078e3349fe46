/* ENCLU with whatever is in the registers, and what comes of it. */
#ifndef WILD_H
#define WILD_H

#include "host.h"

static struct {
	int signo, code;
	uint64_t address;
} wild_seen;

static void on_wild(int signo, siginfo_t *info, void *context)
{
	wild_seen.signo = signo;
	wild_seen.code = info->si_code;
	wild_seen.address = (uint64_t)info->si_addr;
	CHECK(GREG(context, RIP) == (greg_t)wild_site);
	GREG(context, RIP) += 3;
}

static void wild_catch(void)
{
	catch_signal(SIGSEGV, on_wild, 0);
	catch_signal(SIGILL, on_wild, 0);
	catch_signal(SIGBUS, on_wild, 0);
}

/* The signal is SIGSEGV: si_code and si_addr. */
static void wild(struct wild regs, int code, uint64_t address)
{
	memset(&wild_seen, 0, sizeof(wild_seen));
	wild_enclu(&regs);
	if (wild_seen.code != code || wild_seen.address != address)
		fprintf(stderr, "leaf %#lx: signal %d code %d address %#lx\n", regs.rax,
			wild_seen.signo, wild_seen.code, wild_seen.address);
	CHECK(wild_seen.signo == SIGSEGV && wild_seen.code == code);
	CHECK(wild_seen.address == address);
}

#define NOT_CANONICAL 0x8000000000000000ull
#define NOWHERE 0x10000ull	/* nothing is mapped here */

/* What does not need an enclave to be wrong. */
static inline void wild_anywhere(void)
{
	static uint8_t ours[2 * PAGE];
	uint64_t page = ((uint64_t)ours + PAGE) & ~(PAGE - 1ull);

	ours[PAGE] = 1;
	/* Leaves that belong inside, and leaves that there are not. */
	for (uint64_t leaf = 0; leaf < 20; leaf++)
		if (leaf != EENTER && leaf != ERESUME)
			wild((struct wild){ .rax = leaf, .rbx = page }, SI_KERNEL, 0);
	wild((struct wild){ .rax = 0xffffffff }, SI_KERNEL, 0);
	for (uint64_t leaf = EENTER; leaf <= ERESUME; leaf++) {
		wild((struct wild){ .rax = leaf, .rbx = 0x123 }, SI_KERNEL, 0);
		wild((struct wild){ .rax = leaf, .rbx = NOT_CANONICAL }, SI_KERNEL, 0);
		wild((struct wild){ .rax = leaf, .rbx = NOWHERE }, SEGV_MAPERR, NOWHERE);
		/* Memory, but not EPC: an access error that SGX finds. */
		wild((struct wild){ .rax = leaf, .rbx = page }, SEGV_ACCERR, page);
	}
}

#endif
