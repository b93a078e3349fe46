/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages of ones in place of an enclave's, where host code touches it: to read, many at a
 * time, until somebody enters; to write, for the length of one instruction.  What was
 * mapped is kept elsewhere meanwhile, where nobody else maps anything: mappings that only
 * change places need no room, so that a limit of the program's (RLIMIT_AS) is no matter.
 */
#include "agent.h"
#include "code.h"

#define PAGE 4096ul
#define PIECES 16
#define FOR_STEPS 4	  /* pages that one instruction can touch, when it moves a string */
#define MREMAP_MAYMOVE_ 1
#define MREMAP_TO 3	  /* MREMAP_MAYMOVE | MREMAP_FIXED */
#define ONES_SIZE 0x40000ul
#define ASIDE (AGENT_BASE + 0x20000000ul)
#define THROWN (ASIDE + PIECES * ONES_SIZE)

static struct piece {
	u64 at, length;
	u64 kept;	/* where its mapping is; 0: not in use */
} pieces[PIECES];

static u8 thrown[FOR_STEPS]; /* there is a page for it, in its place or in the enclave's */

static u8 *ones; /* to be mapped again elsewhere, and never written */
static u32 next_to_go = FOR_STEPS;

static u64 mapped(long got)
{
	return got < 0 && got > -4096 ? 0 : (u64)got;
}

static u64 anonymous(u64 at, u64 length, u64 flags)
{
	return mapped(sys(NR_mmap, at, length, PROT_READ_ | PROT_WRITE_,
			  MAP_ANONYMOUS_ | MAP_NORESERVE_ | flags, -1ul, 0));
}

static int have_ones(void)
{
	u64 at;

	if (ones)
		return 1;
	at = anonymous(0, ONES_SIZE, MAP_SHARED_);
	if (!at)
		return 0;
	memset((void *)at, 0xff, ONES_SIZE);
	sys(NR_mprotect, at, ONES_SIZE, PROT_READ_);
	sys(NR_madvise, at, ONES_SIZE, MADV_DONTDUMP_);
	ones = (u8 *)at;
	return 1;
}

/* Where the page that is thrown away waits for the next step. */
static u64 thrown_place(const struct piece *p)
{
	return THROWN + (u64)(p - pieces) * PAGE;
}

static int is_for_steps(const struct piece *p)
{
	return p - pieces < FOR_STEPS;
}

/* While the process may still map something. */
static int have_thrown(const struct piece *p)
{
	u8 *have = &thrown[p - pieces];

	if (!*have)
		*have = anonymous(thrown_place(p), PAGE, MAP_PRIVATE_ | MAP_FIXED_) != 0;
	return *have;
}

void abort_prepare(void)
{
	for (u32 i = 0; i < FOR_STEPS; i++)
		have_thrown(&pieces[i]);
}

/* The kernel does not watch a mapping that was away (pages.c): as long as it is not told,
 * enclave code that comes there gets a fault. */
static void withdraw(struct piece *p)
{
	u64 rights = is_for_steps(p) ? curtain_rights(p->at) : 0;

	if (rights)
		sys(NR_mprotect, p->kept, p->length, PROT_NONE_);
	if (is_for_steps(p) && sys(NR_mremap, p->at, PAGE, PAGE, MREMAP_TO, thrown_place(p)) < 0)
		thrown[p - pieces] = 0;
	if (sys(NR_mremap, p->kept, p->length, p->length, MREMAP_TO, p->at) < 0)
		fatal("softsgx: too many mappings: raise vm.max_map_count\n");
	pages_moved(p->at, p->length);
	if (rights)
		sys(NR_mprotect, p->at, p->length, rights);
	p->kept = 0;
}

/* Put back what the enclave has in a range; whoever calls has the enclaves' lock. */
void abort_withdraw(u64 start, u64 end)
{
	for (u32 i = 0; i < PIECES; i++)
		if (pieces[i].kept && pieces[i].at < end &&
		    start < pieces[i].at + pieces[i].length)
			withdraw(&pieces[i]);
}

/* Move a mapping away; 0: it is not one, or there are too many. */
static int keep(struct piece *p, u64 at, u64 length)
{
	u64 to = ASIDE + (u64)(p - pieces) * ONES_SIZE;

	p->at = at;
	p->length = length;
	__atomic_store_n(&p->kept, to, __ATOMIC_RELEASE); /* first: see abort_forked */
	if (sys(NR_mremap, at, length, length, MREMAP_TO, to) >= 0)
		return 1;
	p->kept = 0;
	return 0;
}

/* Show ones in a range of an enclave that can be read outside, as far as it is alike.
 * The enclaves' lock is held. */
int abort_show(u64 at, u64 length)
{
	struct piece *p = &pieces[next_to_go];
	u64 shown;

	if (length > ONES_SIZE)
		length = ONES_SIZE;
	if (p->kept)
		withdraw(p);
	if (!have_ones())
		return 0;
	if (!keep(p, at, length) && !keep(p, at, PAGE))
		return 0;
	shown = mapped(sys(NR_mremap, ones, 0, p->length, MREMAP_TO, at));
	next_to_go = next_to_go + 1 < PIECES ? next_to_go + 1 : FOR_STEPS;
	if (!shown)
		withdraw(p);
	return shown != 0;
}

/* ---- one instruction ---- */

/* The step that goes on, one at a time in a process: a second thread waits. */
static struct {
	u32 tid, hidden; /* behind a curtain that is closed */
	u64 mask, flags;
} step;

/* The thread whose step goes on. */
const u32 *abort_stepper(void)
{
	return &step.tid;
}

static struct piece *free_piece(void)
{
	for (u32 i = 0; i < FOR_STEPS; i++)
		if (!pieces[i].kept)
			return &pieces[i];
	return 0;
}

/* A page that will be thrown away: of ones, or if the enclave can read it meanwhile, of
 * what the enclave reads there.  That may have to come first, so nobody has the lock. */
static struct piece *make_page(u64 at)
{
	struct piece *p = free_piece();
	u64 to = p && have_thrown(p) ? thrown_place(p) : 0;

	if (!to)
		return 0;
	step.hidden = (u32)curtain_is_closed(at);
	if (step.hidden || code_copy((void *)to, at, PAGE))
		memset((void *)to, 0xff, PAGE);
	return p;
}

static int put_page(struct piece *p, u64 at)
{
	if (!p || step.hidden != (u32)curtain_is_closed(at) || !keep(p, at, PAGE))
		return 0;
	if (sys(NR_mremap, thrown_place(p), PAGE, PAGE, MREMAP_TO, at) >= 0)
		return 1;
	withdraw(p);
	return 0;
}

/* Let the instruction run by itself, with a page of its own at an address. */
void abort_step(struct frame *f, u64 at)
{
	static u32 failures;
	u32 tid = (u32)sys(NR_gettid, 0);
	struct piece *p;

	if (step.tid != tid) {
		take_turn(&step.tid, tid);
		step.mask = f->uc->sigmask;
		step.flags = f->uc->mc.rflags;
	}
	lock_enclaves();
	abort_withdraw(at, at + PAGE);
	unlock_enclaves();
	p = make_page(at);
	lock_enclaves();
	abort_withdraw(at, at + PAGE);
	failures = put_page(p, at) ? 0 : failures + 1;
	unlock_enclaves();
	/* Once is no harm: another thread may have unmapped the place. */
	if (failures > MAX_FAILURES)
		fatal("softsgx: no mapping left for an abort page\n");
	f->uc->mc.rflags |= RFLAGS_TF;
	f->uc->sigmask = masks_real(~0ul);
}

static void end_step(void)
{
	for (u32 i = 0; i < FOR_STEPS; i++)
		if (pieces[i].kept)
			withdraw(&pieces[i]);
	__atomic_store_n(&step.tid, 0, __ATOMIC_RELEASE);
}

/* Any signal but a further fault of the same instruction ends the step: 1 if it was
 * only the step's own trap. */
int abort_step_ended(struct frame *f)
{
	u64 flags;

	if (!step.tid || step.tid != (u32)sys(NR_gettid, 0))
		return 0;
	if (f->info->code > 0 && f->uc->mc.trapno == 14 && overlaps_hull(f->uc->mc.cr2, 1))
		return 0;
	flags = step.flags;
	f->uc->sigmask = step.mask;
	f->uc->mc.rflags = (f->uc->mc.rflags & ~RFLAGS_TF) | (flags & RFLAGS_TF);
	lock_enclaves();
	end_step();
	unlock_enclaves();
	return f->sig == SIGTRAP && f->info->code == TRAP_TRACE_ && !(flags & RFLAGS_TF);
}

/* Map an enclave anew, where nobody knows how far another thread had come. */
static int remake(const struct piece *p)
{
	const struct enclave *e = enclave_of(p->at);

	return e && mapped(sys(NR_mremap, e->alias + (p->at - e->base), 0, p->length,
			       MREMAP_TO, p->at)) &&
	       sys(NR_mprotect, p->at, p->length, PROT_NONE_) == 0;
}

static void piece_forked(struct piece *p, int torn)
{
	if (!torn || !remake(p)) {
		if (sys(NR_madvise, p->kept, p->length, 0) == 0)
			return;
		sys(NR_munmap, p->at, p->length); /* Forks do not copy that enclave. */
	}
	p->kept = 0;
	if (is_for_steps(p))
		thrown[p - pieces] = 0;
}

/* A step of another thread's did not come along.  Torn: nor did a thread that was just
 * changing all this. */
void abort_forked(int torn)
{
	for (u32 i = 0; i < PIECES; i++)
		if (pieces[i].kept)
			piece_forked(&pieces[i], torn);
	if (step.tid)
		end_step();
}
