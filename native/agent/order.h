/* SPDX-License-Identifier: Apache-2.0
 *
 * What the supervisor says of mappings is carried out in the order in which it was said.
 */
#pragma once

#include "agent.h"

HIDDEN void order_keep(struct answer *ans);
HIDDEN void order_said(u32 number);
HIDDEN void order_forked(void);
