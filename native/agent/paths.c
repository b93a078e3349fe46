/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths: which of a program's calls may be about a file that only a machine with SGX
 * has.  Most are not, and that is seen here by the last part of the path; the supervisor
 * knows the rest, and says when it is the kernel's after all.
 */
#include "agent.h"
#include "paths.h"
#include "shortcut.h"


int same_text(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static int begins(const char *text, const char *with)
{
	while (*with && *text == *with)
		text++, with++;
	return !*with;
}

/* A number in a directory of descriptors, or in one that is not named. */
static int is_descriptor(const char *path, const char *name)
{
	const char *at = name;

	if (!*at)
		return 0;
	while (*at >= '0' && *at <= '9')
		at++;
	return !*at && (name == path || (name - path > 3 && begins(name - 3, "fd/")));
}

static int is_name(const char *path, const char *name)
{
	static const char names[][20] = {
		"sgx_enclave", "sgx_provision", "sgx_total_bytes", "sgx",  "enclave",
		"provision",   "cpuinfo",	"misc",		   "x86",  "10:125",
		"10:126",      "signing_keys",	"launch_keys",	   "provisioning_keys",
		"dynamic_keys", "isgx",		"intel_sgx",	   "10:124",
		"misc.max",	"misc.current", "misc.peak",	   "misc.events",
		"misc.capacity", "misc.events.local", "sgx_vepc", "10:123",
	};

	for (u64 i = 0; i < ARRAY_SIZE(names); i++)
		if (same_text(name, names[i]))
			return 1;
	if (same_text(name, "auxv") || (A.config.tier >= 2 && same_text(name, "maps")))
		return 1;
	return is_descriptor(path, name) || begins(path, "/sys/class/misc/sgx_") ||
	       begins(path, "/sys/class/misc/isgx") ||
	       begins(path, "/sys/devices/virtual/misc/sgx_") ||
	       begins(path, "/sys/devices/platform/intel_sgx/");
}

/* A node in the place of a directory. */
static int goes_through_node(const char *path)
{
	static const char nodes[][16] = {"sgx_enclave/", "sgx_provision/", "sgx/enclave/",
					 "sgx/provision/", "isgx/", "sgx_vepc/"};

	for (const char *at = path; *at; at++) {
		if (at > path && at[-1] != '/')
			continue;
		for (u64 i = 0; i < ARRAY_SIZE(nodes); i++)
			if (begins(at, nodes[i]))
				return 1;
	}
	return 0;
}

/* Copy a path without the slashes and dots at its end: its length, or 0. */
long copy_path(char *copy, u64 path)
{
	long length = agent_copy_string(copy, (const char *)path, PATH_SIZE - 1);

	if (length <= 0 || length >= PATH_SIZE - 1)
		return 0;
	while (length > 1 && (copy[length - 1] == '/' ||
			      (copy[length - 1] == '.' && copy[length - 2] == '/')))
		length--;
	copy[length] = 0;
	return length;
}

/* May the path lead to a view? */
enum likely likely_at(u64 path)
{
	char copy[PATH_SIZE], *end, *name, last;

	end = name = copy + copy_path(copy, path);
	if (name == copy)
		return NO_VIEW;
	while (name > copy && name[-1] != '/')
		name--;
	if (is_name(copy, name) || goes_through_node(copy))
		return A_VIEW;
	if (agent_copy(&last, (void *)(path + (u64)(end - copy)), 1))
		return NO_VIEW;
	return last || same_text(name, "dev") || same_text(name, ".") || same_text(name, "..") ? A_DIRECTORY : NO_VIEW;
}

/* ---- which argument is what ---- */

struct where {
	u64 directory, path;
	u32 has_directory;
	u32 opens;	/* the call gives a descriptor */
};

static int where_of(const struct k_sigcontext *mc, struct where *w)
{
	switch (mc->rax) {
	case NR_open:
	case NR_creat:
	case NR_stat:
	case NR_lstat:
	case NR_access:
	case NR_readlink:
	case NR_getxattr:
	case NR_lgetxattr:
	case NR_listxattr:
	case NR_chdir:
	case NR_statfs:
	case NR_llistxattr:
		*w = (struct where){(u64)AT_FDCWD_, mc->rdi, 0,
				    mc->rax == NR_open || mc->rax == NR_creat};
		return 1;
	case NR_openat:
	case NR_openat2:
		*w = (struct where){mc->rdi, mc->rsi, 1, 1};
		return 1;
	case NR_newfstatat:
	case NR_statx:
	case NR_faccessat:
	case NR_faccessat2:
	case NR_readlinkat:
		*w = (struct where){mc->rdi, mc->rsi, 1, 0};
		return 1;
	}
	return 0;
}

static u64 open_flags(const struct k_sigcontext *mc)
{
	u64 flags = 0;

	if (mc->rax == NR_openat2)
		agent_copy(&flags, (void *)mc->rdx, 8);
	else if (mc->rax == NR_creat)
		flags = O_CREAT_ | O_WRONLY_ | O_TRUNC_;
	else
		flags = (u32)(mc->rax == NR_open ? mc->rsi : mc->rdx);
	return flags;
}

/* Whoever meets a view may go on to read links and directories around it. */
long ask_about_path(const struct k_sigcontext *mc, int opens)
{
	long ret = call_supervisor(CALL_PATH | mc->rax << 32, mc->rdi, mc->rsi, mc->rdx,
				   mc->r10, mc->r8);

	if (ret != -NOT_OURS_CODE && !opens)
		views_watch();
	return ret == -IN_PART_OURS_CODE ? -NOT_OURS_CODE : ret;
}

/* A number alone can only be a descriptor's name where those are. */
static int is_only_number(u64 argument)
{
	char copy[PATH_SIZE];
	u64 fs[15]; /* struct statfs */

	return copy_path(copy, argument) && is_descriptor(copy, copy) &&
	       (sys(NR_statfs, ".", fs) || fs[0] != PROC_SUPER_MAGIC_);
}

/* A program that is told of a view by its arguments may read links first. */
void paths_init(const u64 *stack)
{
	u64 count = stack[0];

	for (u64 i = 1; i <= count; i++)
		if (likely_at(stack[i]) == A_VIEW && !is_only_number(stack[i])) {
			views_watch();
			return;
		}
}

/* ---- the calls ---- */

/* A directory, as the flags or the end of the path say: the call does not block, and is
 * made here to see what comes.  What has more entries for the program is watched. */
static void directory_call(struct frame *f, const struct where *w)
{
	struct k_sigcontext *mc = &f->uc->mc;
	u64 status[18];
	long ret = syscall6((long)mc->rax, mc->rdi, mc->rsi, mc->rdx, mc->r10, mc->r8, 0);

	if (ret == -ENOENT_) {
		path_not_found(f);
		return;
	}
	if (ret >= 0 && w->opens && status_of((u64)ret, status) == 0 && is_listed(status))
		views_watch();
	mc->rax = (u64)ret;
}

/* What the supervisor answers is what the call returns, but for those that the kernel must
 * do to us. */
static long path_result(const struct k_sigcontext *mc, long ret)
{
	if (ret >= 0 && mc->rax == NR_chdir)
		return enter_view(ret);
	if (ret >= 0 && mc->rax == NR_statfs)
		return statfs_near(mc->rdi, mc->rsi);
	return ret;
}

static int may_be_fstat(const struct k_sigcontext *mc)
{
	u64 flags = mc->rax == NR_newfstatat ? mc->r10 : mc->rdx;

	return (mc->rax == NR_newfstatat || mc->rax == NR_statx) && flags & AT_EMPTY_PATH_;
}

/* AT_EMPTY_PATH with no path is about a descriptor; the filter of views traps it. */
static int is_fstat(const struct k_sigcontext *mc)
{
	char first = 0;

	if (!may_be_fstat(mc))
		return 0;
	return !mc->rsi || (!agent_copy(&first, (void *)mc->rsi, 1) && !first);
}

static void do_path(struct frame *f, const struct where *w)
{
	struct k_sigcontext *mc = &f->uc->mc;
	enum likely likely = is_fstat(mc) ? view_is_open(w->directory) ? A_VIEW : NO_VIEW :
					    likely_at(w->path);
	int from_view = likely == A_DIRECTORY && starts_in_view(w->directory, w->path);
	long ret = -NOT_OURS_CODE;

	if (from_view && w->opens)
		ret = open_from_view(w->path, open_flags(mc));
	else if (from_view || likely == A_VIEW)
		ret = ask_about_path(mc, (int)w->opens);
	if (from_view && w->opens)
		mc->rax = (u64)ret;
	else if (ret != -NOT_OURS_CODE) {
		if (ret >= 0 && w->opens)
			views_opened(f, ret, open_flags(mc));
		mc->rax = (u64)path_result(mc, ret);
	} else if (likely == A_DIRECTORY || (w->opens && open_flags(mc) & O_DIRECTORY_)) {
		directory_call(f, w);
	} else {
		if (w->opens)
			memory_opens(w->path);
		reissue_path(f, (int)w->has_directory);
	}
}

/* A link of the program's own may lead to a view, and a view may be the directory that
 * the path starts from, or goes up from at its end. */
static int may_be_found(const struct where *w)
{
	char copy[PATH_SIZE], link[8];
	long length = copy_path(copy, w->path);

	if (!length)
		return 0;
	return sys(NR_readlinkat, w->directory, copy, link, sizeof(link)) > 0 ||
	       ((int)w->directory >= 0 && view_is_open(w->directory)) || starts_in_view(w->directory, w->path) ||
	       (length > 3 && same_text(copy + length - 3, "/.."));
}

/* A call that opens nothing, about what can only be a directory. */
static u8 *directory_done(struct k_sigcontext *mc, const struct where *w)
{
	long ret = syscall6((long)mc->rax, mc->rdi, mc->rsi, mc->rdx, mc->r10, mc->r8, 0);

	if (ret == -ENOENT_ && may_be_found(w))
		return 0;
	mc->rax = (u64)ret;
	return agent_shortcut_done;
}

u8 *path_gate(struct k_sigcontext *mc)
{
	enum likely likely;
	struct where w;

	if (!where_of(mc, &w) || may_be_fstat(mc))
		return 0;
	likely = likely_at(w.path);
	if (likely == A_DIRECTORY && !w.opens)
		return directory_done(mc, &w);
	if (likely != NO_VIEW ||
	    (w.opens && (open_flags(mc) & O_DIRECTORY_ || memory_watches(w.path))))
		return 0;
	return w.has_directory ? agent_reissue_at : agent_reissue_path;
}

/* The kernel knows no such path. */
void path_not_found(struct frame *f)
{
	struct k_sigcontext *mc = &f->uc->mc;
	struct where w;
	long ret = -NOT_OURS_CODE;

	if (where_of(mc, &w) && may_be_found(&w))
		ret = ask_about_path(mc, (int)w.opens);
	if (ret == -NOT_OURS_CODE)
		ret = -ENOENT_;
	else if (ret >= 0 && w.opens)
		views_opened(f, ret, open_flags(mc));
	mc->rax = (u64)path_result(mc, ret);
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
	struct where w;

	if (mc->rax == NR_write || mc->rax == NR_pwrite64 || mc->rax == NR_writev) {
		do_write(f);
		return 1;
	}
	if (mc->rax == NR_getdents64) {
		do_getdents(f);
		return 1;
	}
	if (mc->rax == NR_getcwd) {
		do_getcwd(f);
		return 1;
	}
	if (mc->rax == NR_fstat) {
		long ret = view_is_open(mc->rdi) ? ask_about_path(mc, 0) : -NOT_OURS_CODE;

		if (ret == -NOT_OURS_CODE)
			reissue(f);
		else
			mc->rax = (u64)ret;
		return 1;
	}
	if (!where_of(mc, &w))
		return binding_call(f) || naming_call(f);
	do_path(f, &w);
	return 1;
}
