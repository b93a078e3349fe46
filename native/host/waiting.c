/* SPDX-License-Identifier: Apache-2.0
 *
 * New programs that are on their way from their execve to their first call.  Some are
 * killed before they come there.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "plain.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct waiting *all_waiting;

static void close_memory(struct waiting *w)
{
	if (w->mem >= 0)
		close(w->mem);
	w->mem = -1;
}

/* Forget those that are done, and such as match: of one process, or, with pid 0, that
 * were killed.  The lock is ours. */
static size_t sweep(int listener, pid_t pid)
{
	struct waiting **at = &all_waiting;
	size_t left = 0;

	while (*at) {
		struct waiting *w = *at;
		int is_of_it = pid ? w->listener == listener && w->pid == pid :
				     !softsgx_is_leader(w->pid);

		if (w->users || !(w->is_done || is_of_it)) {
			at = &w->next;
			left++;
			continue;
		}
		*at = w->next;
		close_memory(w);
		free(w);
	}
	return left;
}

struct waiting *waiting_new(int listener, pid_t pid)
{
	struct waiting *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->listener = listener;
	w->pid = pid;
	w->mem = -1;
	w->users = 1;
	pthread_mutex_lock(&lock);
	if (sweep(listener, pid) >= MAX_WAITING)
		sweep(listener, 0);
	w->next = all_waiting;
	all_waiting = w;
	pthread_mutex_unlock(&lock);
	return w;
}

struct waiting *waiting_of(int listener, pid_t pid, struct softsgx_start *taken)
{
	struct waiting *w;

	pthread_mutex_lock(&lock);
	for (w = all_waiting; w; w = w->next)
		if (!w->is_done && w->listener == listener && w->pid == pid &&
		    __atomic_load_n(&w->start.pid, __ATOMIC_ACQUIRE))
			break;
	if (w && taken) {
		*taken = w->start;
		w->is_done = 1;
		if (!w->users)
			close_memory(w);
	} else if (w) {
		w->users++;
	}
	pthread_mutex_unlock(&lock);
	return w;
}

void waiting_release(struct waiting *w, int is_done)
{
	pthread_mutex_lock(&lock);
	w->users--;
	w->is_done |= is_done;
	if (w->is_done && !w->users)
		close_memory(w);
	pthread_mutex_unlock(&lock);
}

int any_waiting(int listener)
{
	const struct waiting *w;

	pthread_mutex_lock(&lock);
	for (w = all_waiting; w; w = w->next)
		if (!w->is_done && w->listener == listener && softsgx_is_leader(w->pid))
			break;
	pthread_mutex_unlock(&lock);
	return w != NULL;
}

size_t waiting_all(int listener, struct softsgx_start *starts, size_t max)
{
	size_t count = 0;

	pthread_mutex_lock(&lock);
	for (const struct waiting *w = all_waiting; w && count < max; w = w->next)
		if (!w->is_done && w->listener == listener && w->start.pid)
			starts[count++] = w->start;
	pthread_mutex_unlock(&lock);
	return count;
}

/* A program whose execve was followed before this process became Python. */
long softsgx_put_start(int listener, const struct softsgx_start *start)
{
	struct waiting *w = waiting_new(listener, start->pid);

	if (!w)
		return -ENOMEM;
	w->start = *start;
	waiting_release(w, 0);
	return 0;
}

/* A program whose execve was followed here becomes Python's. */
long softsgx_take_start(int listener, pid_t pid, struct softsgx_start *start)
{
	return waiting_of(listener, pid, start) ? 0 : -ESRCH;
}
