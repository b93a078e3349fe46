/* SPDX-License-Identifier: Apache-2.0
 *
 * One thread answers the tree's calls; another looks whether a call takes long, so that
 * it can take over.  The first only writes a number at the begin and the end of a call.
 */
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "softsgx.h"

#define TICK_NS 1000000
#define CALM 16
#define CALM_TICKS 4
#define NAP_S 1

static uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static void tick(long ticks)
{
	const struct timespec time = {.tv_nsec = ticks * TICK_NS};

	nanosleep(&time, NULL);
}

/* Sleep until the next call; a beat that comes just now costs a nap's time. */
static void park(struct softsgx_pulse *pulse, uint32_t seen)
{
	const struct timespec time = {.tv_sec = NAP_S};

	__atomic_store_n(&pulse->parked, 1, __ATOMIC_SEQ_CST);
	if (load(&pulse->beat) == seen && !load(&pulse->stop))
		syscall(SYS_futex, &pulse->beat, FUTEX_WAIT_PRIVATE, seen, &time, NULL, 0);
	__atomic_store_n(&pulse->parked, 0, __ATOMIC_SEQ_CST);
}

/* Return the beat of a call that has taken a tick; 0, which is none's, when
 * told to stop.  While call follows call and none is late, a look costs more than it
 * gives: between two calls there is one every few ticks. */
long softsgx_watch(struct softsgx_pulse *pulse)
{
	for (unsigned int calm = 0;;) {
		uint32_t seen = load(&pulse->beat);

		if (load(&pulse->stop))
			return 0;
		tick(calm >= CALM && !(seen & 1) ? CALM_TICKS : 1);
		if (load(&pulse->beat) != seen) {
			calm++;
			continue;
		}
		if (seen & 1)
			return seen;
		park(pulse, seen);
		calm = 0;
	}
}

long softsgx_wake(struct softsgx_pulse *pulse)
{
	return syscall(SYS_futex, &pulse->beat, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

uint32_t pulse_begin(struct softsgx_pulse *pulse)
{
	uint32_t beat = __atomic_add_fetch(&pulse->beat, 1, __ATOMIC_SEQ_CST);

	if (load(&pulse->parked))
		softsgx_wake(pulse);
	return beat;
}

int pulse_end(struct softsgx_pulse *pulse, uint32_t beat)
{
	return __atomic_compare_exchange_n(&pulse->beat, &beat, beat + 1, 0,
					   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

long softsgx_take_over(struct softsgx_pulse *pulse, uint32_t beat)
{
	return pulse_end(pulse, beat);
}
