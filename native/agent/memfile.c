/* SPDX-License-Identifier: Apache-2.0
 *
 * /proc/PID/mem, in the process that has it open: enclaves are read and written there as
 * the device does it, by the supervisor, and not as the kernel would.
 */
#include "agent.h"
#include "filter.h"

#define NAME_MAX_ 64
#define SEEK_CUR_ 1

/* Only in processes that opened such a file. */
static struct sock_filter memory_filter[] = {
	FILTER_HEAD(ALLOW),
	IF_EQ(NR_read, 3, 0),
	IF_EQ(NR_write, 2, 0),
	IF_EQ(NR_pread64, 1, 0),
	IF_EQ(NR_pwrite64, 0, 1),
	TRAP,
	ALLOW,
};

static u32 installed;

/* The number in a name that ends in /mem, 0 if it is no such name; self is 1. */
static u32 memory_of(const char *name, u64 length)
{
	static const char head[] = "/proc/", tail[] = "/mem";
	u64 at = sizeof(head) - 1, end = length - (sizeof(tail) - 1);
	u32 pid = 0;

	if (length < at + sizeof(tail))
		return 0;
	for (u64 i = 0; i < at; i++)
		if (name[i] != head[i])
			return 0;
	for (u64 i = 0; i < sizeof(tail) - 1; i++)
		if (name[end + i] != tail[i])
			return 0;
	for (; name[at] >= '0' && name[at] <= '9'; at++)
		pid = pid * 10 + (u32)(name[at] - '0');
	return pid ? pid : 1;
}

/* Is it the first of these files that is to be opened? */
int memory_watches(u64 path)
{
	char name[NAME_MAX_];
	long length;

	if (installed)
		return 0;
	length = agent_copy_string(name, (const char *)path, sizeof(name) - 1);
	return length > 0 && length < (long)sizeof(name) - 1 &&
	       memory_of(name, (u64)length);
}

/* A file is about to be opened. */
void memory_opens(u64 path)
{
	static const struct k_fprog prog = {ARRAY_SIZE(memory_filter), memory_filter};

	if (!memory_watches(path))
		return;
	installed = 1;
	install_filter(&prog);
}

/* Whose memory a descriptor is, 0 for any other file. */
static u32 memory_behind(u64 fd)
{
	char path[32] = "/proc/self/fd/", name[NAME_MAX_], digits[10];
	u64 n = 14, count = 0;
	u32 rest = (u32)fd;
	long length;

	do
		digits[count++] = (char)('0' + rest % 10);
	while (rest /= 10);
	while (count)
		path[n++] = digits[--count];
	path[n] = 0;
	length = sys(NR_readlink, path, name, sizeof(name));
	if (length <= 0 || length >= (long)sizeof(name))
		return 0;
	name[length] = 0;
	return memory_of(name, (u64)length);
}

/* read, write and their kin with a place. */
void do_transfer(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 writes = mc->rax == NR_write || mc->rax == NR_pwrite64;
	u64 placed = mc->rax == NR_pread64 || mc->rax == NR_pwrite64;
	u32 pid = memory_behind(mc->rdi);
	long at, done;

	if (!pid) {
		reissue(f);
		return;
	}
	at = placed ? (long)mc->r10 : sys(NR_lseek, mc->rdi, 0, SEEK_CUR_);
	done = call_supervisor(CALL_MEMORY, pid, (u64)at, mc->rdx, mc->rsi, writes);
	if (done == -NOT_OURS_CODE || done >= MEMORY_UP_TO) {
		/* The kernel's, up to where an enclave begins. */
		if (done > 0)
			mc->rdx = (u64)(done - MEMORY_UP_TO);
		reissue(f);
		return;
	}
	if (done > 0 && !placed)
		sys(NR_lseek, mc->rdi, done, SEEK_CUR_);
	mc->rax = (u64)done;
}
