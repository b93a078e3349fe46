/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls about names: which of them may be names of files that only a machine with SGX has,
 * and what is bound in place of such a file.
 */
#include "agent.h"
#include "paths.h"

#define NO_ARGUMENT 0xff

/* Calls that make, move or take away a name, or change what is at one, and which of their
 * arguments are such. */
static const struct {
	u16 nr;
	u8 names[2];
} naming[] = {
	{NR_truncate, {0, NO_ARGUMENT}}, {NR_rename, {0, 1}},
	{NR_mkdir, {0, NO_ARGUMENT}},	 {NR_rmdir, {0, NO_ARGUMENT}},
	{NR_link, {0, 1}},		 {NR_unlink, {0, NO_ARGUMENT}},
	{NR_symlink, {1, NO_ARGUMENT}},	 {NR_chmod, {0, NO_ARGUMENT}},
	{NR_chown, {0, NO_ARGUMENT}},	 {NR_lchown, {0, NO_ARGUMENT}},
	{NR_mknod, {0, NO_ARGUMENT}},	 {NR_mkdirat, {1, NO_ARGUMENT}},
	{NR_mknodat, {1, NO_ARGUMENT}},	 {NR_fchownat, {1, NO_ARGUMENT}},
	{NR_unlinkat, {1, NO_ARGUMENT}}, {NR_renameat, {1, 3}},
	{NR_linkat, {1, 3}},		 {NR_symlinkat, {2, NO_ARGUMENT}},
	{NR_fchmodat, {1, NO_ARGUMENT}}, {NR_utimensat, {1, NO_ARGUMENT}},
	{NR_renameat2, {1, 3}},
};

int naming_call(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	const u64 arguments[] = {mc->rdi, mc->rsi, mc->rdx, mc->r10};
	long ret = -NOT_OURS_CODE;
	u64 i = 0;

	while (i < ARRAY_SIZE(naming) && naming[i].nr != mc->rax)
		i++;
	if (i == ARRAY_SIZE(naming))
		return 0;
	for (u64 k = 0; k < 2 && ret == -NOT_OURS_CODE; k++) {
		u8 which = naming[i].names[k];

		if (which != NO_ARGUMENT && likely_at(arguments[which]) == A_VIEW)
			ret = ask_about_path(mc, 0);
	}
	if (ret == -NOT_OURS_CODE)
		reissue(f);
	else
		mc->rax = (u64)ret;
	return 1;
}

static int ends_with(const char *text, long length, const char *with, long size)
{
	return length >= size && same_text(text + length - size, with);
}

/* The path of what the supervisor takes for our node, wherever it is mounted: the
 * kernel's /dev/full beside it.  path has room for it. */
static void put_stand_in(char *path, long length)
{
	if (ends_with(path, length, "sgx/enclave", 11))
		length -= 8;
	else if (ends_with(path, length, "sgx/provision", 13))
		length -= 10;
	for (; length && path[length - 1] != '/'; length--)
		;
	memcpy(path + length, "full", 5);
}

/* Mounts of one file.  Of a node of ours the kernel does not know. */
int binding_call(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	char path[PATH_SIZE];
	u64 *of = mc->rax == NR_mount ? &mc->rdi : &mc->rsi;
	u64 at = *of;
	long length;

	if (mc->rax != NR_mount && mc->rax != NR_open_tree)
		return 0;
	if ((mc->rax == NR_mount && !(mc->r10 & MS_BIND_)) || likely_at(at) != A_VIEW ||
	    ask_about_path(mc, 0) || !(length = copy_path(path, at))) {
		reissue(f);
		return 1;
	}
	put_stand_in(path, length);
	*of = (u64)path;
	mc->rax = (u64)syscall6((long)mc->rax, mc->rdi, mc->rsi, mc->rdx, mc->r10, mc->r8, 0);
	*of = at;
	return 1;
}
