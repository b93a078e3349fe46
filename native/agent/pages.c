/* SPDX-License-Identifier: Apache-2.0
 *
 * What lets pages of enclaves leave while the process runs.  The supervisor gets a
 * userfaultfd, which stands for our address space: by it pages can be write-protected,
 * and an access to one that left is a SIGBUS, which is then a page fault like others.
 */
#include "agent.h"

#define UFFD_USER_MODE_ONLY_ 1ul

#define PAUSE_MS 100	  /* after so long it is another wait */
#define PATIENCE_MS 10000 /* so long it may be for a machine that is busy */

static u32 offered;

/* Without one the supervisor keeps our enclaves where they are. */
void pages_offer(void)
{
	long fd = sys(NR_userfaultfd, O_CLOEXEC_ | UFFD_USER_MODE_ONLY_);

	if (fd < 0)
		return;
	call_plainly(CALL_PAGES, (u64)fd, 0);
	sys(NR_close, fd);
	offered = 1;
}

/* We met a write-protected page that an exit needs.  The supervisor protects pages before it
 * looks who is inside, and then lets go of these: 1, it is worth another try. */
int pages_wait(const struct frame *f)
{
	static u64 page;
	static s64 began, last; /* by any thread: may be later than our now */
	struct k_timespec nap = {0, 50000};
	u64 at = f->uc->mc.cr2 & -4096ul;
	s64 now = (s64)(clock_ns(CLOCK_MONOTONIC_) / 1000000);

	if (f->sig != SIGBUS || f->uc->mc.trapno != 14 || !offered)
		return 0;
	if (at != page || now - last > PAUSE_MS)
		began = now;
	page = at;
	last = now;
	sys(NR_nanosleep, &nap, 0);
	return now - began < PATIENCE_MS;
}

/* The parent's stands for the parent's address space. */
void pages_forked(void)
{
	offered = 0;
}

/* A mapping of an enclave was away and is back: the kernel forgot what it was told of it.
 * Nobody waits for us in the supervisor, so the enclaves' lock may be held. */
void pages_moved(u64 start, u64 length)
{
	if (offered)
		call_plainly(CALL_MOVED, start, length);
}
