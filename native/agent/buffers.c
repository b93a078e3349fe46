/* SPDX-License-Identifier: Apache-2.0
 *
 * System calls with a buffer in enclave memory.  Hardware lets the kernel read ones there,
 * and write what is then lost; so the call is made again with a buffer of ours.
 */
#include "agent.h"
#include "filter.h"

#define PAGE 4096ul
#define BUFFER_SIZE 0x100000ul
#define MOST_RANGES 8

/* Only in processes that have an enclave: calls whose second argument is in its range. */
static struct sock_filter buffer_filter[] = {
	FILTER_HEAD(ALLOW),
	IF_EQ(NR_read, 6, 0),
	IF_EQ(NR_write, 5, 0),
	IF_EQ(NR_pread64, 4, 0),
	IF_EQ(NR_pwrite64, 3, 0),
	IF_EQ(NR_sendto, 2, 0),
	IF_EQ(NR_recvfrom, 1, 0),
	ALLOW,
	LOAD_HIGH(1),
	BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 0, 3, 0), /* above the range's first */
	IF_EQ(0, 0, 8),
	LOAD_LOW(1),
	IF_GE(0, 0, 6),
	LOAD_HIGH(1),
	BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 0, 4, 0), /* and not above its last */
	IF_EQ(0, 0, 2),
	LOAD_LOW(1),
	BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 0, 1, 0),
	TRAP,
	ALLOW,
};
enum { FIRST_HIGH = ARRAY_SIZE(buffer_filter) - 11, FIRST_LOW = FIRST_HIGH + 3,
       LAST_HIGH = FIRST_LOW + 2, LAST_LOW = LAST_HIGH + 3 };

static struct {
	u64 start, end;
} watched[MOST_RANGES];
static u32 nr_watched;

static int is_watched(u64 start, u64 end)
{
	for (u32 i = 0; i < nr_watched; i++)
		if (watched[i].start <= start && end <= watched[i].end)
			return 1;
	return 0;
}

/* An enclave is mapped.  Filters outlast an execve, so they are counted.  After one of the
 * program's own none of ours can come. */
void buffers_watch(u64 start, u64 end)
{
	static const struct k_fprog prog = {ARRAY_SIZE(buffer_filter), buffer_filter};
	struct sock_filter *filter = buffer_filter;

	lock_enclaves();
	if (!is_watched(start, end) && !borrowed_memory() &&
	    A.config.filtered / FILTERED_BUFFERS < MOST_RANGES &&
	    !(A.config.filtered & FILTERED_OWN)) {
		A.config.filtered += FILTERED_BUFFERS;
		watched[nr_watched].start = start;
		watched[nr_watched++].end = end;
		filter[FIRST_HIGH].k = filter[FIRST_HIGH + 1].k = (u32)(start >> 32);
		filter[FIRST_LOW].k = (u32)start;
		filter[LAST_HIGH].k = filter[LAST_HIGH + 1].k = (u32)((end - 1) >> 32);
		filter[LAST_LOW].k = (u32)(end - 1);
		install_filter(&prog);
	}
	unlock_enclaves();
}

/* Memory of ones that nobody writes, or such that nobody reads; behind it nothing, so
 * that a call of more than that has a short count.  0: there is none. */
static u64 buffer(int written)
{
	static u64 made[2];
	u64 flags = MAP_PRIVATE_ | MAP_ANONYMOUS_ | MAP_NORESERVE_;
	long at;

	lock_enclaves();
	if (!made[written]) {
		at = sys(NR_mmap, 0, BUFFER_SIZE + PAGE, PROT_READ_ | PROT_WRITE_, flags,
			 -1ul, 0);
		if (at >= 0 || at < -4095) {
			made[written] = (u64)at;
			if (!written)
				memset((void *)at, 0xff, BUFFER_SIZE);
			sys(NR_mprotect, at, BUFFER_SIZE + PAGE,
			    written ? PROT_READ_ | PROT_WRITE_ : PROT_READ_);
			sys(NR_mprotect, at + (long)BUFFER_SIZE, PAGE, PROT_NONE_);
		}
	}
	unlock_enclaves();
	return made[written];
}

/* Whether a call writes to its buffer; -1: it is another call. */
static int writes_buffer(u64 nr)
{
	switch (nr) {
	case NR_read:
	case NR_pread64:
	case NR_recvfrom:
		return 1;
	case NR_write:
	case NR_pwrite64:
	case NR_sendto:
		return 0;
	}
	return -1;
}

/* read, write and their kin; 0: the buffer is none of an enclave's. */
int do_buffer(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	int writes = writes_buffer(mc->rax);
	u64 length = mc->rdx < BUFFER_SIZE ? mc->rdx : BUFFER_SIZE, to;

	if (writes < 0 || !length || !overlaps_hull(mc->rsi, length) ||
	    call_supervisor(CALL_HIDDEN, mc->rsi, length, (u64)writes, 0, 0) != (long)length)
		return 0;
	to = buffer(writes);
	if (!to)
		return 0;
	reissue_with(f, &mc->rsi, agent_reissue_rsi, 0, 0);
	if (mc->rip == (u64)agent_reissue_rsi)
		mc->rsi = to;
	return 1;
}
