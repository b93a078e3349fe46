/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#define REDZONE 128
#define RFLAGS_AC 0x40000

/* The program may have flags that C does not live with: the kernel clears only DF. */
.macro sane_flags
	cld
	pushfq
	andl $~RFLAGS_AC, (%rsp)
	popfq
.endm
