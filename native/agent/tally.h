/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes on at each TCS, for those who watch.  Only the thread that has the TCS writes
 * here, so nothing needs a lock; only the supervisor reads it, and believes nothing.
 */
#pragma once

#include "agent.h"

static inline struct abi_tally *tally(const struct enclave *e, u64 tcs)
{
	return &e->tallies[(tcs - e->base) >> 12];
}
