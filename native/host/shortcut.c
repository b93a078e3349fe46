/* SPDX-License-Identifier: Apache-2.0
 *
 * Shortcuts: system calls about paths, and CPUIDs, that lead into the agent by a jump,
 * which costs a tenth of a signal.  They and what stands behind them give way to a jump to
 * a stub, in the same file's last page of code.  Nobody has executed that code yet: it was
 * just mapped.  What stands in memory is looked at again; shortcuts.py judged the file.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "gen_abi.h"
#include "plain.h"

#define PAGE 4096ul
#define CODE_SIZE 2 /* of SYSCALL and of CPUID */
#define JUMP_SIZE 5
#define MAX_SPAN 15

static const uint8_t compare_rax[] = {0x48, 0x3d, 0, 0xf0, 0xff, 0xff};
static const uint8_t compare_eax[] = {0x3d, 0, 0xf0, 0xff, 0xff};

/* How many bytes give way, 0 if what stands there is something else. */
static size_t span_at(const uint8_t *code, const struct shortcut *s)
{
	if (s->span) /* a breakpoint may stand on it */
		return (code[0] == 0x0f || code[0] == SITE_INT3) && code[1] == 0xa2 ?
			       s->span : 0;
	if (code[0] != 0x0f || code[1] != 0x05)
		return 0;
	if (!memcmp(code + CODE_SIZE, compare_rax, sizeof(compare_rax)))
		return CODE_SIZE + sizeof(compare_rax);
	if (!memcmp(code + CODE_SIZE, compare_eax, sizeof(compare_eax)))
		return CODE_SIZE + sizeof(compare_eax);
	return 0;
}

static size_t put(uint8_t *to, size_t at, const void *bytes, size_t size)
{
	memcpy(to + at, bytes, size);
	return at + size;
}

static size_t put_jump(uint8_t *to, size_t at, uint64_t here, uint64_t target)
{
	int32_t distance = (int32_t)(target - (here + JUMP_SIZE));

	to[at] = 0xe9;
	return put(to, at + 1, &distance, sizeof(distance));
}

/* The agent is told in RCX, which SYSCALL would set so, where to go on.  When it wants the
 * call to trap it goes on at the one before that. */
static size_t put_call(uint8_t *stub)
{
	static const uint8_t head[] = {
		0x48, 0x8d, 0x0d, 15, 0, 0, 0, /* lea 1f(%rip), %rcx */
		0x49, 0xbb,		       /* movabs $..., %r11 */
	}, tail[] = {
		0x41, 0xff, 0xe3, /* jmp *%r11 */
		0x0f, 0x05,	  /* syscall; 1: */
	};
	uint64_t gate = AGENT_BASE + SHORTCUT_OFFSET;
	size_t at = put(stub, 0, head, sizeof(head));

	at = put(stub, at, &gate, sizeof(gate));
	return put(stub, at, tail, sizeof(tail));
}

/* The registers are those that CPUID sets, and does not read. */
static size_t put_cpuid(uint8_t *stub)
{
	static const uint8_t head[] = {
		0x48, 0x8d, 0x15, 12, 0, 0, 0, /* lea 1f(%rip), %rdx */
		0x48, 0xbb,		       /* movabs $..., %rbx */
	}, tail[] = {
		0xff, 0xe3, /* jmp *%rbx; 1: */
	};
	uint64_t gate = AGENT_BASE + SHORTCUT_CPUID_OFFSET;
	size_t at = put(stub, 0, head, sizeof(head));

	at = put(stub, at, &gate, sizeof(gate));
	return put(stub, at, tail, sizeof(tail));
}

/* What stood behind CPUID may be a move or a comparison with a word that it reaches by
 * its own place; that one is another now. */
static void reach_again(uint8_t *code, uint64_t moved)
{
	uint32_t distance;

	if ((code[0] != 0x89 && code[0] != 0x8b && code[0] != 0x83) ||
	    (code[1] & 0xc7) != 0x05)
		return;
	memcpy(&distance, code + 2, sizeof(distance));
	distance += (uint32_t)moved;
	memcpy(code + 2, &distance, sizeof(distance));
}

/* The stub ends with what stood behind, and the way back. */
static void make_stub(uint8_t *stub, const struct shortcut *s, const uint8_t *code,
		      size_t span)
{
	size_t begin = s->span ? put_cpuid(stub) : put_call(stub), at;

	at = put(stub, begin, code + CODE_SIZE, span - CODE_SIZE);
	if (s->span)
		reach_again(stub + begin, s->site + CODE_SIZE - (s->stub + begin));
	put_jump(stub, at, s->stub + at, s->site + span);
}

/* What stands in its place: the rest is never executed. */
static void make_jump(uint8_t *code, const struct shortcut *s, size_t span)
{
	size_t at = put_jump(code, 0, s->site, s->stub);

	memset(code + at, SITE_INT3, span - at);
}

/* How many from here on are in one page, and their stubs side by side. */
static size_t neighbours(const struct shortcut *s, size_t left)
{
	size_t n = 1;

	while (n < left && s[n].site / PAGE == s[0].site / PAGE &&
	       s[n].stub == s[0].stub + n * SHORTCUT_SIZE)
		n++;
	return n;
}

/* Those of a page; the last may reach into the next page. */
static void write_some(int mem, const struct shortcut *s, size_t n)
{
	uint8_t code[PAGE + MAX_SPAN], stubs[MAX_SHORTCUTS * SHORTCUT_SIZE] = {0};
	size_t size = s[n - 1].site - s[0].site + MAX_SPAN, room = n * SHORTCUT_SIZE;

	if (pread(mem, code, size, s[0].site) != (ssize_t)size)
		return;
	for (size_t i = 0; i < n; i++) {
		uint8_t *at = code + (s[i].site - s[0].site);
		size_t span = span_at(at, &s[i]);

		if (!span)
			return;
		make_stub(stubs + i * SHORTCUT_SIZE, &s[i], at, span);
		make_jump(at, &s[i], span);
	}
	if (pwrite(mem, stubs, room, s[0].stub) == (ssize_t)room)
		pwrite(mem, code, size, s[0].site);
}

void shortcuts_write(int mem, const struct shortcuts *all)
{
	for (size_t i = 0, n; i < all->count; i += n) {
		n = neighbours(&all->at[i], all->count - i);
		write_some(mem, &all->at[i], n);
	}
}
