/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a debugger's script finds what it shows (gdb_sgx.py): the order is agreed there.
 */
#include "agent.h"

__attribute__((used)) const u64 agent_layout[12] = {
	(u64)A.enclaves,	       ARRAY_SIZE(A.enclaves),
	sizeof(struct enclave),	       (u64)&block_owner,
	BLOCKS,			       offsetof(struct thread, inside),
	offsetof(struct thread, tcs),  offsetof(struct thread, aep),
	offsetof(struct thread, ursp), offsetof(struct thread, urbp),
	offsetof(struct enclave, attributes), offsetof(struct enclave, ssaframesize),
};
