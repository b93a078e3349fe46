/* SPDX-License-Identifier: Apache-2.0
 *
 * code.c: what stands where a thread was.
 */
#pragma once

/* Copy what the program has at an address, at most a page: 0, or -EFAULT. */
HIDDEN long code_copy(void *to, u64 from, u64 size);
/* Copy what can be had of an instruction; zero behind it.  LONGEST + 2 bytes. */
HIDDEN void copy_instruction(u8 *code, u64 rip);
#define LONGEST 15 /* bytes of an instruction */
