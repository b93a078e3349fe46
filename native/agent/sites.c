/* SPDX-License-Identifier: Apache-2.0
 *
 * Sites: instructions of the program whose first byte was replaced, because CPUID does
 * not trap, or because what stands there now does so faster than an invalid opcode.  The
 * rest stays and is looked at again each time.
 *
 * ENCLU becomes HLT: its fault leaves RIP at the site, so that whoever loses the signal (a
 * debugger that does not pass it on, a signal that waits already) loses nothing.  CPUID
 * becomes a breakpoint where SIGSEGV may be blocked, and HLT where a debugger looks on,
 * which would take a breakpoint for its own.
 */
#include "agent.h"
#include "code.h"

#define NR_SITES 4096 /* eight pages */
#define MIX 0x9e3779b97f4a7c15ul
#define INT3 0xcc
#define HLT 0xf4
#define NS 1000000000ul

static u64 sites[NR_SITES]; /* address << 3 | kind, open addressing */

static const u8 enclu_bytes[3] = {0x0f, 0x01, 0xd7};
static const u8 cpuid_bytes[2] = {0x0f, 0xa2};

static int is_site(u64 address, enum site_kind like);

/* ENCLU, or what another thread put in its place since this one trapped there. */
int at_enclu(u64 rip)
{
	u8 code[3];

	if (code_copy(code, rip, 3) || code[1] != enclu_bytes[1] ||
	    code[2] != enclu_bytes[2])
		return 0;
	return code[0] == enclu_bytes[0] || (code[0] == HLT && is_site(rip, SITE_ENCLU));
}

int at_cpuid(u64 rip)
{
	u8 code[2];

	if (code_copy(code, rip, 2))
		return 0;
	return code[0] == cpuid_bytes[0] && code[1] == cpuid_bytes[1];
}

/* Sites of one piece of code are in one page: most programs have no others. */
static u64 slot_of(u64 address)
{
	u64 page = ((address >> 16) * MIX) >> 61, at = ((address & 0xffff) * MIX) >> 55;

	return page * (NR_SITES / 8) + at;
}

void site_add(u64 address, enum site_kind kind)
{
	for (u64 i = slot_of(address), n = 0; n < 64; n++, i = (i + 1) % NR_SITES) {
		if (sites[i] && sites[i] >> 3 != address)
			continue;
		sites[i] = address << 3 | kind;
		return;
	}
}

void sites_init(void)
{
	for (u32 i = 0; i < A.config.sites && i < MAX_SITES; i++)
		if (A.sites[i])
			site_add(A.sites[i], SITE_CPUID);
}

/* The supervisor said that the file has no CPUID, when this program began. */
static int is_bare(u64 fd)
{
	u64 st[18]; /* struct stat */

	if (!A.config.bare || sys(NR_fstat, (int)fd, st) < 0)
		return 0;
	for (u32 i = 0; i < A.config.bare && i < MAX_BARE; i++) {
		const struct abi_bare *bare = &A.bare[i];

		if (bare->ino == st[1] && bare->dev == st[0] && bare->size == st[6] &&
		    bare->mtime == st[11] * NS + st[12] &&
		    bare->ctime == st[13] * NS + st[14])
			return 1;
	}
	return 0;
}

/* Code of a file was mapped: have its CPUIDs rewritten. */
void sites_of_text(u64 start, u64 length, u64 fd, u64 offset)
{
	if ((A.config.flags & CONFIGFLAG_REWRITE_CPUID) && !is_bare(fd))
		call_supervisor(CALL_TEXT, start, length, fd, offset,
				A.config.flags & CONFIGFLAG_WATCHED);
}

/* Where a site is noted, if it is: the places to look at, until one is empty. */
const u64 *site_slot(u64 address, u64 n)
{
	return n < 64 ? &sites[(slot_of(address) + n) % NR_SITES] : 0;
}

enum site_kind site_known(u64 site, u64 address)
{
	return site >> 3 == address ? site & 7 : SITE_NONE;
}

enum site_kind site_lookup(u64 address)
{
	const u64 *slot;

	for (u64 n = 0; (slot = site_slot(address, n)) && *slot; n++)
		if (site_known(*slot, address) != SITE_NONE)
			return site_known(*slot, address);
	return SITE_NONE;
}

/* A site of another process's making is asked for. */
static int is_site(u64 address, enum site_kind like)
{
	enum site_kind kind = site_lookup(address);

	if (kind != SITE_NONE)
		return kind == like;
	if (call_supervisor(CALL_SITE, address, like, 0, 0, 0) != 1)
		return 0;
	site_add(address, like);
	return 1;
}

/* What stood where now one of the two stands. */
static enum site_kind site_at(u64 address, u8 byte)
{
	u8 code[3] = {0};
	enum site_kind like;

	if (code_copy(code, address, 2) || code[0] != byte)
		return SITE_NONE;
	if (code[1] == cpuid_bytes[1])
		like = SITE_CPUID;
	else if (code[1] == enclu_bytes[1] &&
		 !code_copy(code, address, 3) && code[2] == enclu_bytes[2])
		like = SITE_ENCLU;
	else
		return SITE_NONE;
	return is_site(address, like) ? like : SITE_NONE;
}

/* The site that raised a signal, RIP at it. */
enum site_kind site_of(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	enum site_kind kind = SITE_NONE;

	if (f->info->code != SI_KERNEL)
		return SITE_NONE;
	if (f->sig == SIGSEGV)
		return site_at(mc->rip, HLT);
	if (f->sig == SIGTRAP)
		kind = site_at(mc->rip - 1, INT3);
	mc->rip -= kind != SITE_NONE;
	return kind;
}

/* The breakpoint behind an instruction whose own was lifted, see enclave_code.py. */
static int ends_window(const struct thread *th, u64 address)
{
	u8 code;

	return th && th->inside && th->lifted && !code_copy(&code, address, 1) &&
	       code == INT3 && call_supervisor(CALL_SITE, address, SITE_WINDOW, 0, 0, 0) == 1;
}

/* A signal by itself, behind a site: the kernel drops the trap's SIGTRAP when one that
 * somebody sent waits already.  Back to the site, to trap again. */
void site_unwind(struct frame *f)
{
	u64 before = f->uc->mc.rip - 1;

	if (site_at(before, INT3) != SITE_NONE || ends_window(f->th, before))
		f->uc->mc.rip--;
}

/* Have the supervisor replace an instruction that just trapped.  It is noted before: who
 * did it may be killed before we hear of it, and nobody else knows. */
void site_patch(u64 address, enum site_kind kind)
{
	/* Before it uses SGX, the process may have blocked SIGSEGV. */
	if (!(A.config.flags & CONFIGFLAG_PATCH) || A.config.tier < 2)
		return;
	site_add(address, kind);
	call_supervisor(CALL_PATCH, address, kind, 0, 0, 0);
}

static int overlay_fits(const struct abi_overlay *o, u32 leaf, u32 subleaf)
{
	return leaf >= o->leaf && leaf <= o->last &&
	       (o->anysub || o->subleaf == subleaf);
}

static const struct abi_overlay *overlay_of(u32 leaf, u32 subleaf)
{
	static const struct abi_overlay none = {.keep_eax = ~0u, .keep_ebx = ~0u,
						.keep_ecx = ~0u, .keep_edx = ~0u};

	for (u32 i = 0; i < A.config.overlays && i < MAX_OVERLAYS; i++)
		if (overlay_fits(&A.overlays[i], leaf, subleaf))
			return &A.overlays[i];
	return &none;
}

void native_cpuid(u32 *a, u32 *b, u32 *c, u32 *d)
{
	int faulting = A.config.flags & CONFIGFLAG_CPUID_FAULTING;

	if (faulting)
		sys(NR_arch_prctl, ARCH_SET_CPUID, 1);
	__asm__ volatile("cpuid" : "+a"(*a), "=b"(*b), "+c"(*c), "=d"(*d));
	if (faulting)
		sys(NR_arch_prctl, ARCH_SET_CPUID, 0);
}

/* CPUID: the processor's own answer under the platform's model.  The processor is not
 * asked where the model knows all: in a virtual machine that is what takes the time. */
void overlaid_cpuid(u32 *a, u32 *b, u32 *c, u32 *d)
{
	const struct abi_overlay *o = overlay_of(*a, *c);

	if (o->keep_eax | o->keep_ebx | o->keep_ecx | o->keep_edx)
		native_cpuid(a, b, c, d);
	*a = (*a & o->keep_eax) | o->add_eax;
	*b = (*b & o->keep_ebx) | o->add_ebx;
	*c = (*c & o->keep_ecx) | o->add_ecx;
	*d = (*d & o->keep_edx) | o->add_edx;
}

void emulate_cpuid(struct k_ucontext *uc)
{
	u32 a = (u32)uc->mc.rax, b = 0, c = (u32)uc->mc.rcx, d = 0;

	overlaid_cpuid(&a, &b, &c, &d);
	uc->mc.rax = a;
	uc->mc.rbx = b;
	uc->mc.rcx = c;
	uc->mc.rdx = d;
	uc->mc.rip += sizeof(cpuid_bytes);
}
