/* SPDX-License-Identifier: Apache-2.0
 *
 * Views that are open: descriptors that stand for a node, a directory or a text of a
 * machine with SGX, and directories of this machine that have more entries.
 *
 * Only a process that opened or found one of these, or is told of one in its arguments,
 * pays for it, by a filter of its own: for reading directories and links, and for fstat.
 * Compilers read a thousand links for each file.
 */
#include "agent.h"
#include "shortcut.h"
#include "filter.h"

#define RESERVE 512	/* bytes of our entries, at most */
#define LARGEST 280	/* bytes of one entry */
#define SEEK_SET_ 0
#define SEEK_CUR_ 1
#define END 4096	/* offset of an empty directory behind our entries */

enum { ST_DEV = 0, ST_INO = 1, ST_NLINK = 2, ST_MODE = 3 }; /* words of struct stat */

static struct sock_filter view_filter[] = {
	FILTER_HEAD(ALLOW),
	IF_EQ(NR_getdents64, 9, 0),
	IF_EQ(NR_getcwd, 8, 0),
	IF_EQ(NR_readlink, 7, 0),
	IF_EQ(NR_readlinkat, 6, 0),
	IF_EQ(NR_fstat, 5, 0),
	IF_EQ(NR_newfstatat, 0, 2),
	LOAD_LOW(3),
	IF_SET(AT_EMPTY_PATH_, 2, 3),
	IF_EQ(NR_statx, 2, 0),
	ALLOW,
	TRAP,
	LOAD_LOW(2),
	IF_SET(AT_EMPTY_PATH_, 0, 1),
	TRAP,
	ALLOW,
};

/* A process that opened a file of ours to write it. */
static struct sock_filter write_filter[] = {
	FILTER_HEAD(ALLOW),
	IF_EQ(NR_write, 2, 0),
	IF_EQ(NR_pwrite64, 1, 0),
	IF_EQ(NR_writev, 0, 1),
	TRAP,
	ALLOW,
};

HIDDEN u32 views_watched; /* entry.S looks at it */

/* A filter, once; but a child of vfork cannot say so where its parent would read it. */
static void filter_once(const struct k_fprog *prog, u32 bit)
{
	if (A.config.filtered & bit)
		return;
	install_filter(prog);
	if (!borrowed_memory())
		A.config.filtered |= bit;
}

void views_filter(void)
{
	static const struct k_fprog prog = {ARRAY_SIZE(view_filter), view_filter};

	filter_once(&prog, FILTERED_VIEWS);
}

/* Whoever comes to write without it, by a socket, finds sealed memory.  So does who has a
 * filter of its own: ours would be the newer one, and take its writes from that. */
static void writes_filter(void)
{
	static const struct k_fprog prog = {ARRAY_SIZE(write_filter), write_filter};

	if (!(A.config.filtered & FILTERED_OWN))
		filter_once(&prog, FILTERED_WRITES);
}

void views_watch(void)
{
	shortcuts_off = 1;
	if (borrowed_memory())
		return;
	__atomic_store_n(&views_watched, 1, __ATOMIC_RELEASE);
	views_filter();
}

long status_of(u64 fd, u64 *status)
{
	return sys(NR_fstat, (int)fd, status);
}

int is_listed(const u64 *status)
{
	for (u64 i = 0; i < MAX_LISTED; i++)
		if (A.listed[i].ino && A.listed[i].dev == status[ST_DEV] &&
		    (A.listed[i].ino == status[ST_INO] || A.listed[i].ino == ANY_INODE))
			return 1;
	return 0;
}

/* A descriptor that may be of ours: no name leads to it any more. */
int view_is_open(u64 fd)
{
	u64 status[18];
	u32 type;

	if (status_of(fd, status) || (u32)status[ST_NLINK])
		return 0;
	type = (u32)status[ST_MODE] & S_IFMT_;
	return type == S_IFDIR_ ||
	       (type == S_IFREG_ && status[ST_DEV] == A.config.shmdev);
}

/* What the supervisor gave is open, and was asked for as O_PATH: such a descriptor only
 * its own process can make. */
static void make_path(long fd, int close_on_exec)
{
	char name[32] = "/proc/self/fd/";
	u64 end = 14, digits = 1;
	long only;

	for (u64 n = (u64)fd; n >= 10; n /= 10)
		digits++;
	for (u64 n = (u64)fd, at = end + digits; at > end; n /= 10)
		name[--at] = (char)('0' + n % 10);
	only = sys(NR_open, name, O_PATH_, 0);
	if (only < 0)
		return;
	sys(NR_dup3, only, fd, close_on_exec ? O_CLOEXEC_ : 0);
	sys(NR_close, only);
}

/* The supervisor opened one.  Texts are sealed and look as they should, but for those
 * that it lets be written. */
void views_opened(struct frame *f, long fd, u64 flags)
{
	long seals;

	if (flags & O_PATH_) {
		make_path(fd, (flags & O_CLOEXEC_) != 0);
		views_watch();
		return;
	}
	seals = sys(NR_fcntl, fd, F_GET_SEALS_);
	if (seals >= 0 && (seals & F_SEAL_WRITE_) && !(flags & O_ACCMODE_))
		return;
	views_watch();
	if (seals >= 0 && (seals & F_SEAL_WRITE_)) {
		writes_filter();
		return;
	}
	if (seals >= 0)
		become_sgx_user(f);
}

/* write, pwrite64, writev: the supervisor looks at where the descriptor stands.  What is
 * no file of ours may be a debugger's view of a program's memory. */
void do_write(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	long ret = -NOT_OURS_CODE;

	if (view_is_open(mc->rdi))
		ret = call_supervisor(CALL_PATH | mc->rax << 32, mc->rdi, mc->rsi, mc->rdx,
				      mc->r10, 0);
	if (ret != -NOT_OURS_CODE)
		mc->rax = (u64)ret;
	else if (mc->rax == NR_writev)
		reissue(f);
	else
		do_transfer(f);
}

static long ask_entries(u64 fd, u64 buffer, u64 size)
{
	long position = sys(NR_lseek, (int)fd, 0, SEEK_CUR_);

	return call_supervisor(CALL_PATH | (u64)NR_getdents64 << 32, fd, buffer, size,
			       (u64)position, 0);
}

/* Our entries follow the kernel's first ones, all at once: the position in the directory
 * says what was read, whoever reads. */
void do_getdents(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 fd = mc->rdi, size = (u32)mc->rdx, status[18];
	long got = 0, ours;
	int is_view = view_is_open(fd);

	if (sys(NR_lseek, (int)fd, 0, SEEK_CUR_) != 0 ||
	    (!is_view && (size < RESERVE + LARGEST || status_of(fd, status) ||
			  !is_listed(status)))) {
		reissue(f);
		return;
	}
	if (!is_view)
		got = sys(NR_getdents64, (int)fd, mc->rsi, size - RESERVE);
	if (got < 0) {
		mc->rax = (u64)got;
		return;
	}
	ours = ask_entries(fd, mc->rsi + (u64)got, size - (u64)got);
	if (is_view && ours == -NOT_OURS_CODE) {
		reissue(f);
		return;
	}
	if (is_view && ours > 0)
		sys(NR_lseek, (int)fd, END, SEEK_SET_);
	mc->rax = (u64)(ours > 0 ? got + ours : is_view ? ours : got);
}
