/* SPDX-License-Identifier: Apache-2.0
 *
 * A working directory that only a machine with SGX has: the kernel has us in one of the
 * supervisor's, which has no name any more.  And file systems that have such files.
 */
#include "agent.h"
#include "paths.h"

enum { ST_NLINK = 2, ST_MODE = 3 }; /* words of struct stat */

static int is_workdir_view(void)
{
	u64 status[18];

	return sys(NR_newfstatat, AT_FDCWD_, "", status, AT_EMPTY_PATH_) == 0 &&
	       !(u32)status[ST_NLINK] && ((u32)status[ST_MODE] & S_IFMT_) == S_IFDIR_;
}

int starts_in_view(u64 directory, u64 path)
{
	char first;

	return (int)directory == AT_FDCWD_ && !agent_copy(&first, (void *)path, 1) &&
	       first != '/' && is_workdir_view();
}

/* The supervisor opened the directory that chdir is to. */
long enter_view(long fd)
{
	long ret = sys(NR_fchdir, fd);

	sys(NR_close, fd);
	return ret;
}

/* A directory whose path begins in such a one and ends in dots: where that leads to only the
 * supervisor knows. */
long open_from_view(u64 path, u64 flags)
{
	long fd = call_supervisor(CALL_PATH | (u64)NR_chdir << 32, path, 0, 0, 0, 0), ret;

	if (fd == -NOT_OURS_CODE)
		return -ENOENT_;
	if (fd < 0)
		return fd;
	ret = sys(NR_openat, fd, ".", flags, 0);
	sys(NR_close, fd);
	views_watch();
	return ret;
}

/* A file is of the file system that the nearest directory on the way to it is of. */
long statfs_near(u64 path, u64 buffer)
{
	char copy[PATH_SIZE];
	long length = copy_path(copy, path), ret;

	if (starts_in_view((u64)AT_FDCWD_, path))
		length = call_supervisor(CALL_PATH | (u64)NR_getcwd << 32, (u64)copy, PATH_SIZE,
					 0, 0, 0) - 1;
	if (length < 0)
		return -ENOENT_;
	do {
		while (length && copy[length] != '/')
			length--;
		copy[length] = 0;
		ret = sys(NR_statfs, length ? copy : ".", buffer);
	} while (ret == -ENOENT_ && length--);
	return ret;
}

void do_getcwd(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	long ret = is_workdir_view() ? ask_about_path(mc, 1) : -NOT_OURS_CODE;

	if (ret == -NOT_OURS_CODE)
		reissue(f);
	else
		mc->rax = (u64)ret;
}
