/* SPDX-License-Identifier: Apache-2.0 */
/* Calls about memory that leave a device's mappings out. */
#pragma once

struct frame;

/* ---- locks.c ---- */
HIDDEN void do_mlock(struct frame *f);
HIDDEN void do_mlockall(struct frame *f);
HIDDEN void locks_use_sgx(void);
HIDDEN void locks_forked(void);

/* ---- mappings.c ---- */
HIDDEN int covers_enclave(u64 start, u64 length);
HIDDEN void do_msync(struct frame *f);
HIDDEN void do_remap_file_pages(struct frame *f);
