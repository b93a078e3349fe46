/* SPDX-License-Identifier: Apache-2.0
 *
 * What needs no decision is served here, without Python: programs begin, and map code of
 * files that somebody looked into.  Everything else is handed over as it was received.
 * Several threads serve; one leads, see pulse.c.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gen_abi.h"
#include "plain.h"

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- trees that are served so ---- */

struct tree {
	struct tree *next;
	int listener;
	int is_over;
	unsigned int users; /* calls that are under way, and 1 until it is over */
	struct softsgx_image image;
	struct softsgx_files *files; /* NULL: no CPUID is rewritten */
	struct abi_bare bare[MAX_BARE];	 /* programs mapped them */
	uint32_t nr_bare;
	uint8_t config[];
};

static struct tree *trees;
static long served[SERVED_KINDS];

/* Here and in let_go the lock is the caller's. */
static struct tree *find(int listener)
{
	struct tree *tree = trees;

	while (tree && (tree->listener != listener || tree->is_over))
		tree = tree->next;
	return tree;
}

static struct tree *tree_take(int listener)
{
	struct tree *tree;

	pthread_mutex_lock(&lock);
	tree = find(listener);
	if (tree)
		tree->users++;
	pthread_mutex_unlock(&lock);
	return tree;
}

static void let_go(struct tree *tree)
{
	struct tree **at = &trees;

	if (--tree->users)
		return;
	while (*at != tree)
		at = &(*at)->next;
	*at = tree->next;
	free(tree);
}

static void tree_release(struct tree *tree)
{
	pthread_mutex_lock(&lock);
	let_go(tree);
	pthread_mutex_unlock(&lock);
}

/* Serve a listener's calls from now on; files: see softsgx_files. */
long softsgx_plain_begin(int listener, const struct softsgx_image *image,
			 struct softsgx_files *files)
{
	struct tree *tree = malloc(sizeof(*tree) + image->config_size);

	if (!tree)
		return -ENOMEM;
	*tree = (struct tree){.listener = listener, .users = 1, .image = *image,
			      .files = files};
	memcpy(tree->config, image->config, image->config_size);
	tree->image.config = tree->config;
	pthread_mutex_lock(&lock);
	tree->next = trees;
	trees = tree;
	pthread_mutex_unlock(&lock);
	/* Hand the processor over with the answer; newer kernels can. */
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	return 0;
}

/* Hand everything over from now on; calls that are under way end as they began. */
long softsgx_plain_end(int listener)
{
	struct tree *tree;

	pthread_mutex_lock(&lock);
	tree = find(listener);
	if (tree) {
		tree->is_over = 1;
		let_go(tree);
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

/* 1 if no call of a listener is under way here, and no new program to its own. */
long softsgx_plain_quiet(int listener)
{
	const struct tree *tree;

	pthread_mutex_lock(&lock);
	for (tree = trees; tree && tree->listener != listener; tree = tree->next)
		;
	pthread_mutex_unlock(&lock);
	return !tree && !any_waiting(listener);
}

/* Have agents that are put in from now on not ask about a file.  When there are too many
 * such files they are found anew. */
static void note_bare(struct tree *tree, const struct known *k)
{
	const struct abi_bare bare = {k->id.dev, k->id.ino, k->id.mtime, k->id.ctime,
				      k->id.size};
	uint32_t i = 0;

	pthread_mutex_lock(&lock);
	while (i < tree->nr_bare && memcmp(&tree->bare[i], &bare, sizeof(bare)))
		i++;
	if (i == MAX_BARE)
		i = tree->nr_bare = 0;
	if (i == tree->nr_bare)
		tree->bare[tree->nr_bare++] = bare;
	pthread_mutex_unlock(&lock);
}

/* What a new program gets; room is for the files. */
static struct softsgx_image image_now(struct tree *tree, struct abi_bare *room)
{
	struct softsgx_image image = tree->image;

	pthread_mutex_lock(&lock);
	image.bare = room;
	image.nr_bare = tree->nr_bare;
	memcpy(room, tree->bare, tree->nr_bare * sizeof(*room));
	pthread_mutex_unlock(&lock);
	return image;
}

/* ---- calls: 1 if it is done with, 0 if not ---- */

struct call {
	int listener;
	struct tree *tree;
	const struct seccomp_notif *is;
};

static int answer(const struct call *call, int64_t value)
{
	struct seccomp_notif_resp resp = {.id = call->is->id, .val = value};

	ioctl(call->listener, SECCOMP_IOCTL_NOTIF_SEND, &resp); /* or it was killed */
	return 1;
}

static int follow(const struct call *call)
{
	pid_t pid = call->is->pid;
	const struct exec exec = {call->listener, call->is->id, pid, pid,
				  call->tree->image.data};
	struct waiting *w;
	long ret;
	int error;

	if (!softsgx_is_leader(pid))
		return 0;
	w = waiting_new(call->listener, pid);
	if (!w)
		return 0;
	ret = follow_exec(&exec, &w->start, &w->mem);
	error = ret > 0 ? w->start.error : 0;
	waiting_release(w, ret <= 0 || error == ENOEXEC);
	/* Of one that had to be killed Python tells: it takes the start. */
	return ret >= 0 && (!error || error == ENOEXEC);
}

static int inject(const struct call *call, const struct waiting *w)
{
	const struct softsgx_start *start = &w->start;
	struct softsgx_files *files = call->tree->files;
	struct places places = {.count = 0};
	struct abi_bare bare[MAX_BARE];
	struct softsgx_image image;

	if (start->error || call->is->data.args[1] != AGENT_BASE)
		return 0;
	if (files && places_of_program(files, start->pid, &places))
		return 0;
	image = image_now(call->tree, bare);
	if (write_code(w->mem, &image, start, places.at, places.count) ||
	    write_agent(call->listener, call->is->id, &image, start, places.at,
			places.count))
		return 0;
	shortcuts_write(w->mem, &places.shortcuts);
	return 1;
}

static int begin(const struct call *call)
{
	struct waiting *w = waiting_of(call->listener, call->is->pid, NULL);
	int done;

	if (!w)
		return 0;
	done = inject(call, w);
	waiting_release(w, done);
	return done && answer(call, 0);
}

/* Where a file's code that was just mapped has CPUIDs and shortcuts: 0 if that is known. */
static long places_of_text(const struct call *call, struct places *places)
{
	const uint64_t *args = (const uint64_t *)call->is->data.args;
	struct softsgx_files *files = call->tree->files;
	const struct known *k;
	char path[64];
	long ret;

	snprintf(path, sizeof(path), "/proc/%d/fd/%u", call->is->pid, (uint32_t)args[3]);
	k = files ? known_at(files, path, 0) : NULL;
	if (!k)
		return -ENOENT;
	ret = places_add(places, k, args[1], args[2], args[4]);
	if (!k->count)
		note_bare(call->tree, k);
	known_done(files);
	return ret;
}

static int text(const struct call *call)
{
	int mem, is_watched = call->is->data.args[5] != 0; /* by a debugger */
	struct places places = {.count = 0};

	if (places_of_text(call, &places))
		return 0;
	if (is_watched)
		places.shortcuts.count = 0;
	if (!places.count && !places.shortcuts.count)
		return answer(call, 0);
	mem = open_waiting(call->listener, call->is->id, call->is->pid);
	if (mem >= 0) {
		rewrite_sites(mem, places.at, places.count,
			      is_watched ? SITE_HLT : SITE_INT3);
		shortcuts_write(mem, &places.shortcuts);
		close(mem);
	}
	return answer(call, 0);
}

/* Nothing uses SGX: a child has nothing that its parent had of it. */
static int forked(const struct call *call)
{
	return softsgx_is_leader(call->is->pid) && answer(call, call->is->pid);
}

static int agent_call(const struct call *call)
{
	uint64_t ip = call->is->data.instruction_pointer;

	if (ip < AGENT_BASE || ip >= AGENT_BASE + VDSO_OFFSET)
		return 0;
	if (call->is->data.args[0] == CALL_TEXT)
		return text(call);
	return call->is->data.args[0] == CALL_FORKED && forked(call);
}

static int count(int kind, int done)
{
	__atomic_add_fetch(&served[kind], done, __ATOMIC_RELAXED);
	return done;
}

static int serve(const struct call *call)
{
	int nr = call->is->data.nr;

	if (nr == SYS_execve || nr == SYS_execveat)
		return count(SERVED_EXECS, follow(call));
	if (nr != CALL_NR)
		return 0;
	if (call->is->data.args[0] == CALL_START)
		return count(SERVED_STARTS, begin(call));
	return count(SERVED_OTHERS, agent_call(call));
}

long softsgx_served(uint32_t kind)
{
	return kind < SERVED_KINDS ? __atomic_load_n(&served[kind], __ATOMIC_RELAXED) :
				     -EINVAL;
}

/* ---- the leader ---- */

/* Take one call and serve it: what serving is to end for, 0 if it goes on. */
static long lead_call(struct tree *tree, struct softsgx_pulse *pulse,
		      struct seccomp_notif *received)
{
	const struct call call = {tree->listener, tree, received};
	uint32_t beat = pulse_begin(pulse);
	int is_received, error;

	memset(received, 0, sizeof(*received));
	is_received = !ioctl(tree->listener, SECCOMP_IOCTL_NOTIF_RECV, received);
	error = errno;
	if (is_received && !serve(&call))
		return SERVE_CALL; /* Python goes on with it, in the same beat */
	if (!pulse_end(pulse, beat))
		return SERVE_LATE;
	/* What was withdrawn, or has nobody left, is seen at the next look. */
	return is_received || error == ENOENT || error == EINTR ? 0 : -error;
}

/* What is due: 0 if all were listeners that are served here. */
static long lead_due(const struct epoll_event *events, int n,
		     struct softsgx_pulse *pulse, int *due, void *received)
{
	for (int i = 0; i < n; i++) {
		struct tree *tree = events[i].events == EPOLLIN ?
					    tree_take(events[i].data.fd) : NULL;
		long ret;

		if (!tree) {
			for (int j = i; j < n; j++)
				due[j - i] = events[j].data.fd;
			return n - i;
		}
		due[0] = tree->listener;
		ret = lead_call(tree, pulse, received);
		tree_release(tree);
		if (ret)
			return ret;
	}
	return 0;
}

/* The listener is in the epoll too; but who waits for it by itself is woken on the
 * processor of the call, which costs half as much as another one. */
static int wait_once(int epoll, int timeout_ms)
{
	struct pollfd fds[] = {{epoll, POLLIN, 0}, {-1, POLLIN, 0}};

	pthread_mutex_lock(&lock);
	for (const struct tree *tree = trees; tree; tree = tree->next)
		if (!tree->is_over)
			fds[1].fd = tree->listener;
	pthread_mutex_unlock(&lock);
	return poll(fds, 2, timeout_ms);
}

/* Lead until something is due that is not served here; due has room for MOST_DUE.  How
 * many descriptors are, 0 after the time (-1: for ever); or what serving ended for. */
long softsgx_serve(int epoll, int timeout_ms, struct softsgx_pulse *pulse, int *due,
		   void *received)
{
	struct epoll_event events[MOST_DUE];
	long ret = 0;

	while (!ret) {
		int n = wait_once(epoll, timeout_ms);

		if (n == 0)
			return 0;
		if (n > 0)
			n = epoll_wait(epoll, events, MOST_DUE, 0);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			ret = lead_due(events, n, pulse, due, received);
	}
	return ret;
}
