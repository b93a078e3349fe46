/* SPDX-License-Identifier: Apache-2.0
 *
 * The runs of an enclave's mappings: a sorted list without overlaps, in which
 * neighbours that are alike are one.
 */
#include "agent.h"

#define LIST_SIZE 0x60000ul
#define MOST_RUNS (LIST_SIZE / sizeof(struct run))

int runs_init(struct curtain *c)
{
	long at = sys(NR_mmap, 0, LIST_SIZE, PROT_READ_ | PROT_WRITE_,
		      MAP_PRIVATE_ | MAP_ANONYMOUS_ | MAP_NORESERVE_, -1ul, 0);

	c->nr_runs = 0;
	c->runs = at < 0 && at > -4096 ? 0 : (struct run *)at;
	return c->runs != 0;
}

void runs_drop(struct curtain *c)
{
	if (c->runs)
		sys(NR_munmap, c->runs, LIST_SIZE);
	c->runs = 0;
	c->nr_runs = 0;
}

/* The number of the first that ends above an address. */
static u32 first_above(const struct curtain *c, u64 address)
{
	u32 low = 0, high = c->nr_runs;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (c->runs[middle].end > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct run *runs_at(const struct curtain *c, u64 address)
{
	u32 i = first_above(c, address);

	return i < c->nr_runs && c->runs[i].start <= address ? &c->runs[i] : 0;
}

static int insert(struct curtain *c, u32 at, struct run run)
{
	if (c->nr_runs == MOST_RUNS)
		return 0;
	for (u32 i = c->nr_runs++; i > at; i--)
		c->runs[i] = c->runs[i - 1];
	c->runs[at] = run;
	return 1;
}

static void erase(struct curtain *c, u32 at, u32 count)
{
	c->nr_runs -= count;
	for (u32 i = at; i < c->nr_runs; i++)
		c->runs[i] = c->runs[i + count];
}

int runs_cut(struct curtain *c, u64 start, u64 end)
{
	u32 first = first_above(c, start), last;

	if (first == c->nr_runs)
		return 1;
	if (c->runs[first].start < start && c->runs[first].end > end) {
		struct run tail = c->runs[first];

		tail.start = end;
		if (!insert(c, first + 1, tail))
			return 0;
	}
	if (c->runs[first].start < start)
		c->runs[first++].end = start;
	for (last = first; last < c->nr_runs && c->runs[last].end <= end; last++)
		;
	if (last < c->nr_runs && c->runs[last].start < end)
		c->runs[last].start = end;
	erase(c, first, last - first);
	return 1;
}

int runs_set(struct curtain *c, u64 start, u64 end, u64 prot)
{
	struct run run = {start, end, (u32)prot, 0}, *next;
	u32 at;

	if (!runs_cut(c, start, end))
		return 0;
	at = first_above(c, start);
	if (at && c->runs[at - 1].end == start && c->runs[at - 1].prot == prot) {
		run.start = c->runs[--at].start;
		erase(c, at, 1);
	}
	next = &c->runs[at];
	if (at < c->nr_runs && next->start == end && next->prot == prot) {
		next->start = run.start;
		next->open = 0;
		return 1;
	}
	return insert(c, at, run);
}

/* Pages, of those where anything is. */
u64 runs_allowed(const struct curtain *c)
{
	u64 bytes = 0;

	for (u32 i = 0; i < c->nr_runs; i++)
		if (c->runs[i].prot)
			bytes += c->runs[i].end - c->runs[i].start;
	return bytes >> 12;
}
