/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths: the device nodes, as the program opens, stats and tests them.  There is no node
 * on this machine; the supervisor gives the descriptor.
 */
#include "agent.h"

#define PATH_MAX_ 64
#define AT_FDCWD_ (-100)

static const char enclave_path[] = "/dev/sgx_enclave";
static const char provision_path[] = "/dev/sgx_provision";
static const char like_path[] = "/dev/null";

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* Which of our nodes a path names, 0 for any other path. */
static u32 node_of(u64 path)
{
	char copy[PATH_MAX_];
	long length = agent_copy_string(copy, (const char *)path, sizeof(copy) - 1);

	if (length < 0 || length >= (long)sizeof(copy) - 1)
		return 0;
	copy[length] = 0;
	if ((A.config.flags & CONFIGFLAG_ENCLAVE_NODE) && same(copy, enclave_path))
		return NODE_ENCLAVE;
	if ((A.config.flags & CONFIGFLAG_PROVISION_NODE) && same(copy, provision_path))
		return NODE_PROVISION;
	return 0;
}

static void do_open(struct frame *f, u64 path, u64 flags)
{
	u32 node = node_of(path);
	long fd;

	if (!node) {
		reissue(f);
		return;
	}
	fd = call_supervisor(CALL_OPEN, node, flags, 0, 0, 0);
	if (fd >= 0 && node == NODE_ENCLAVE)
		become_sgx_user(f);
	f->uc->mc.rax = (u64)fd;
}

static void do_openat2(struct frame *f)
{
	u64 flags = 0;

	if (!node_of(f->uc->mc.rsi) || agent_copy(&flags, (void *)f->uc->mc.rdx, 8))
		reissue(f);
	else
		do_open(f, f->uc->mc.rsi, flags);
}

/* stat and its kin: as of the null device, with the numbers and mode of a misc node. */
static void do_stat(struct frame *f, u64 path, u64 buffer)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u32 node = node_of(path);
	u64 rdev = 10 << 8 | (node == NODE_ENCLAVE ? 125 : 126);
	u32 mode;
	long ret;

	if (!node) {
		reissue(f);
		return;
	}
	if (mc->rax == NR_statx) {
		u32 device[2] = {10, (u32)rdev & 0xff};

		ret = sys(NR_statx, AT_FDCWD_, like_path, mc->rdx, mc->r10, buffer);
		if (ret == 0)
			ret = agent_copy((void *)(buffer + 128), device, sizeof(device));
	} else {
		ret = sys(NR_stat, like_path, buffer);
		if (ret == 0)
			ret = agent_copy((void *)(buffer + 40), &rdev, 8);
		mode = 0020666;
		if (ret == 0)
			ret = agent_copy((void *)(buffer + 24), &mode, 4);
	}
	mc->rax = (u64)ret;
}

static void do_access(struct frame *f, u64 path, u64 mode)
{
	if (!node_of(path))
		reissue(f);
	else
		f->uc->mc.rax = (u64)sys(NR_access, like_path, mode);
}

/* Shells and compilers look for a program by trying one directory after the other: what
 * fails before Linux looks into the file needs no supervisor. */
void do_execve(struct frame *f)
{
	u64 st[18]; /* struct stat */
	long ret = sys(NR_newfstatat, AT_FDCWD_, f->uc->mc.rdi, st, 0);

	if (ret == -ENOENT_ || ret == -ENOTDIR_ || ret == -EACCES_)
		f->uc->mc.rax = (u64)ret;
	else
		reissue(f);
}

int path_syscall(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;

	switch (mc->rax) {
	case NR_open:
		do_open(f, mc->rdi, mc->rsi);
		return 1;
	case NR_openat:
		do_open(f, mc->rsi, mc->rdx);
		return 1;
	case NR_openat2:
		do_openat2(f);
		return 1;
	case NR_stat:
	case NR_lstat:
		do_stat(f, mc->rdi, mc->rsi);
		return 1;
	case NR_newfstatat:
		do_stat(f, mc->rsi, mc->rdx);
		return 1;
	case NR_statx:
		do_stat(f, mc->rsi, mc->r8);
		return 1;
	case NR_access:
		do_access(f, mc->rdi, mc->rsi);
		return 1;
	case NR_faccessat:
	case NR_faccessat2:
		do_access(f, mc->rsi, mc->rdx);
		return 1;
	}
	return 0;
}
