/* SPDX-License-Identifier: Apache-2.0
 *
 * Shortcuts: system calls about paths that lead into the agent by a jump, which costs a
 * tenth of a signal.  A call and the comparison behind it give way to a jump to a stub, in
 * the same file's last page of code.  Nobody has executed that code yet: it was just
 * mapped.  What stands in memory is looked at again; shortcuts.py judged the file.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "gen_abi.h"
#include "plain.h"

#define PAGE 4096ul
#define CALL_SIZE 2
#define JUMP_SIZE 5
#define MAX_CALL 8 /* with its comparison */

static const uint8_t compare_rax[] = {0x48, 0x3d, 0, 0xf0, 0xff, 0xff};
static const uint8_t compare_eax[] = {0x3d, 0, 0xf0, 0xff, 0xff};

/* The comparison's size, 0 if this is no such call. */
static size_t compare_at(const uint8_t *code)
{
	if (code[0] != 0x0f || code[1] != 0x05)
		return 0;
	if (!memcmp(code + CALL_SIZE, compare_rax, sizeof(compare_rax)))
		return sizeof(compare_rax);
	if (!memcmp(code + CALL_SIZE, compare_eax, sizeof(compare_eax)))
		return sizeof(compare_eax);
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
static void make_stub(uint8_t *stub, const struct shortcut *s, const uint8_t *compare,
		      size_t size)
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
	at = put(stub, at, tail, sizeof(tail));
	at = put(stub, at, compare, size);
	put_jump(stub, at, s->stub + at, s->site + CALL_SIZE + size);
}

/* What stands in place of a call: a jump, and NOPs as long as the comparison is. */
static void make_jump(uint8_t *code, const struct shortcut *s, size_t compare)
{
	static const uint8_t nop3[] = {0x0f, 0x1f, 0x00}, nop2[] = {0x66, 0x90};
	size_t at = put_jump(code, 0, s->site, s->stub);

	if (CALL_SIZE + compare - at == sizeof(nop3))
		put(code, at, nop3, sizeof(nop3));
	else
		put(code, at, nop2, sizeof(nop2));
}

/* How many calls from here on are in one page, and their stubs side by side. */
static size_t neighbours(const struct shortcut *s, size_t left)
{
	size_t n = 1;

	while (n < left && s[n].site / PAGE == s[0].site / PAGE &&
	       s[n].stub == s[0].stub + n * SHORTCUT_SIZE)
		n++;
	return n;
}

/* Those calls of a page; the last may reach into the next page. */
static void write_some(int mem, const struct shortcut *s, size_t n)
{
	uint8_t code[PAGE + MAX_CALL], stubs[MAX_SHORTCUTS * SHORTCUT_SIZE] = {0};
	size_t size = s[n - 1].site - s[0].site + MAX_CALL, room = n * SHORTCUT_SIZE;

	if (pread(mem, code, size, s[0].site) != (ssize_t)size)
		return;
	for (size_t i = 0; i < n; i++) {
		uint8_t *call = code + (s[i].site - s[0].site);
		size_t compare = compare_at(call);

		if (!compare)
			return;
		make_stub(stubs + i * SHORTCUT_SIZE, &s[i], call + CALL_SIZE, compare);
		make_jump(call, &s[i], compare);
	}
	if (pwrite(mem, stubs, room, s[0].stub) == (ssize_t)room)
		pwrite(mem, code, size, s[0].site);
}

void shortcuts_write(int listener, uint64_t id, pid_t pid, const struct shortcuts *all)
{
	int mem = all->count ? open_waiting(listener, id, pid) : -ENOENT;

	if (mem < 0)
		return;
	for (size_t i = 0, n; i < all->count; i += n) {
		n = neighbours(&all->at[i], all->count - i);
		write_some(mem, &all->at[i], n);
	}
	close(mem);
}
