/* SPDX-License-Identifier: Apache-2.0
 *
 * The threads that serve until Python is needed: one leads, one watches it and leads in
 * its place when a call takes long, as runner/crew.py has it.  A call that is not for C
 * is kept, unanswered; as soon as no other is under way nobody serves any more.
 */
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "start.h"

#define MAX_THREADS 64
#define STACK (1 << 20) /* whatever limit the program was given */
#define MOMENT_NS 1000000
#define SETTLE_MOMENTS 200

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t watching = PTHREAD_MUTEX_INITIALIZER;
static struct softsgx_pulse pulse;
static int epoll_fd, bell;
static unsigned int leader, threads, late; /* who leads; all; those that do no more */
static int retires, is_over;
static struct seccomp_notif handed[MAX_HANDED];
static size_t nr_handed;
int crew_over;

static void *work(void *leads);

/* The lock is the caller's, here and below. */
static int add_thread(void *leads)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int is_made;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	is_made = threads < MAX_THREADS &&
		  !pthread_create(&thread, &attributes, work, leads);
	pthread_attr_destroy(&attributes);
	threads += is_made;
	return is_made;
}

static void end(int is_handed_over)
{
	is_over = 1;
	pulse.stop = 1;
	softsgx_wake(&pulse);
	if (is_handed_over)
		eventfd_write(crew_over, 1);
}

/* A thread whose call took so long that another leads; it may have kept a call. */
static void come_late(void)
{
	late--;
	eventfd_write(bell, 1);
}

/* What one round of serving came to: 1 if this thread leads on. */
static int judge(unsigned int me, long found, int due, const struct seccomp_notif *call)
{
	if (found == SERVE_CALL)
		handed[nr_handed++] = *call;
	if (found == SERVE_LATE || leader != me) {
		come_late();
		return 0;
	}
	if (found == SERVE_CALL)
		pulse_end(&pulse, pulse.beat);
	else if (found > 0 && due != bell)
		end(retires); /* nobody is left that could call: the end is heard of */
	if (!is_over && (found < 0 || ((retires || nr_handed) && !late)))
		end(1);
	return !is_over;
}

static int has_room(void)
{
	int result;

	pthread_mutex_lock(&lock);
	result = nr_handed + threads < MAX_HANDED;
	pthread_mutex_unlock(&lock);
	return result;
}

static void lead(unsigned int me)
{
	struct seccomp_notif call;
	int due[MOST_DUE] = {-1}, leads = 1;
	eventfd_t rung;
	long found;

	while (leads) {
		if (has_room()) {
			found = softsgx_serve(epoll_fd, -1, &pulse, due, &call);
		} else { /* what is late is waited for alone */
			found = 1;
			due[0] = bell;
		}
		if (found > 0 && due[0] == bell)
			eventfd_read(bell, &rung);
		pthread_mutex_lock(&lock);
		leads = judge(me, found, due[0], &call);
		pthread_mutex_unlock(&lock);
	}
}

/* Wait until the leader is late, and be it: its number; 0: all is over. */
static unsigned int watch(void)
{
	unsigned int me = 0;

	while (!me) {
		uint32_t beat = (uint32_t)softsgx_watch(&pulse);

		if (!beat)
			return 0;
		pthread_mutex_lock(&lock);
		if (!is_over && softsgx_take_over(&pulse, beat)) {
			me = ++leader;
			late++;
			if (threads - late < 2)
				add_thread(NULL);
		}
		pthread_mutex_unlock(&lock);
	}
	return me;
}

static void *work(void *leads)
{
	unsigned int me = 0;

	softsgx_deafen();
	if (leads)
		lead(0);
	do {
		pthread_mutex_lock(&watching);
		me = watch();
		pthread_mutex_unlock(&watching);
		if (me)
			lead(me);
	} while (me);
	return NULL;
}

static int add_to_epoll(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return fd >= 0 && !epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

int crew_begin(int listener)
{
	int begins;

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	bell = eventfd(0, EFD_CLOEXEC);
	crew_over = eventfd(0, EFD_CLOEXEC);
	if (crew_over < 0 || !add_to_epoll(bell) || !add_to_epoll(listener))
		return 0;
	pthread_mutex_lock(&lock);
	begins = add_thread(&pulse);
	if (begins)
		add_thread(NULL);
	pthread_mutex_unlock(&lock);
	return begins;
}

void crew_retire(void)
{
	struct pollfd over = {crew_over, POLLIN, 0};

	int waits;

	pthread_mutex_lock(&lock);
	retires = 1;
	waits = !is_over;
	pthread_mutex_unlock(&lock);
	eventfd_write(bell, 1);
	while (waits && poll(&over, 1, -1) < 0)
		;
}

static int is_busy(void)
{
	int result;

	pthread_mutex_lock(&lock);
	result = late || (!is_over && (nr_handed || pulse.beat & 1));
	pthread_mutex_unlock(&lock);
	return result;
}

void crew_settle(void)
{
	const struct timespec moment = {.tv_nsec = MOMENT_NS};

	for (int i = 0; i < SETTLE_MOMENTS && is_busy(); i++)
		nanosleep(&moment, NULL);
}

size_t crew_handed(const struct seccomp_notif **calls)
{
	*calls = handed;
	return nr_handed;
}
