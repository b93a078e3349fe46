/* SPDX-License-Identifier: Apache-2.0
 *
 * What lets pages of enclaves leave while the process runs.  The supervisor gets a
 * userfaultfd, which stands for our address space: by it pages can be write-protected,
 * and an access to one that left is a SIGBUS, which is then a page fault like others.
 */
#include "agent.h"

#define UFFD_USER_MODE_ONLY_ 1ul

static u32 offered;

/* Without one the supervisor keeps our enclaves where they are. */
void pages_offer(void)
{
	long fd = sys(NR_userfaultfd, O_CLOEXEC_ | UFFD_USER_MODE_ONLY_);

	if (fd < 0)
		return;
	sys(CALL_NR, CALL_PAGES, fd);
	sys(NR_close, fd);
	offered = 1;
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
		sys(CALL_NR, CALL_MOVED, start, length);
}
