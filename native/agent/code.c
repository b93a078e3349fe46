/* SPDX-License-Identifier: Apache-2.0
 *
 * Looks at code.  What an instruction raised says only together with the instruction why it
 * was raised, and its page may have left the EPC since: then the supervisor, which brings it
 * back, says what is there.
 */
#include "agent.h"
#include "code.h"

#define PAGE 4096ul

long code_copy(void *to, u64 from, u64 size)
{
	struct thread *th;

	if (!agent_copy(to, (void *)from, size))
		return 0;
	if (!overlaps_hull(from, size))
		return -EFAULT_;
	if (call_supervisor(CALL_CODE, from, (u64)to, size, 0, 0) >= 0)
		return 0;
	th = thread_of_stack();
	if (th)
		th->unread = from;
	return -EFAULT_;
}

void copy_instruction(u8 *code, u64 rip)
{
	u64 here = PAGE - rip % PAGE;

	memset(code, 0, LONGEST + 2);
	if (here > LONGEST)
		here = LONGEST;
	if (code_copy(code, rip, here))
		memset(code, 0, here);
	else if (code_copy(code + here, rip + here, LONGEST - here))
		memset(code + here, 0, LONGEST - here);
}
