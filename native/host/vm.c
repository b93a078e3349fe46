/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies between the supervisor and the program.
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "softsgx.h"

#define PAGE 4096
#define PIECE (256 * 1024)
#define TSC_READINGS 20
#define TSC_NAP_NS 10000000

long softsgx_waits(int listener, uint64_t id)
{
	return listener < 0 || !ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id);
}

long read_memory(pid_t pid, uint64_t from, void *to, size_t size)
{
	struct iovec local = {to, size}, remote = {(void *)from, size};
	ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);

	return got < 0 ? -errno : got;
}

long softsgx_read(int listener, uint64_t id, pid_t pid, uint64_t from, void *to,
		  size_t size)
{
	long got = read_memory(pid, from, to, size);

	return softsgx_waits(listener, id) ? got : -ESRCH;
}

/* A number that was right a moment ago: the kernel looks it up first of all, and hands
 * out all others before it comes again. */
long softsgx_write(int listener, uint64_t id, pid_t pid, uint64_t to, const void *from,
		   size_t size)
{
	struct iovec local = {(void *)from, size}, remote = {(void *)to, size};
	ssize_t got;

	if (!softsgx_waits(listener, id))
		return -ESRCH;
	got = process_vm_writev(pid, &local, 1, &remote, 1, 0);
	return got < 0 ? -errno : got;
}

static int all_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* Copy pages whose destination already reads as zero: zero pages are left as holes, so
 * that a big empty heap costs no memory.  Returns the bytes copied up to an error. */
long softsgx_copy_pages(int listener, uint64_t id, pid_t pid, uint64_t from, uint8_t *to,
			size_t size)
{
	uint8_t piece[PIECE];
	size_t done = 0;

	while (done < size) {
		size_t want = size - done < PIECE ? size - done : PIECE;
		long got = softsgx_read(listener, id, pid, from + done, piece, want);

		if (got < 0)
			return done ? (long)done : got;
		got -= got % PAGE;
		for (long at = 0; at < got; at += PAGE)
			if (!all_zero(piece + at))
				memcpy(to + done + at, piece + at, PAGE);
		done += got;
		if ((size_t)got < want)
			break;
	}
	return done;
}

/* Through /proc/PID/mem, which writes where the mapping itself may not be written. */
long softsgx_poke(int listener, uint64_t id, pid_t pid, uint64_t address, uint8_t byte)
{
	char path[32];
	long ret;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (!softsgx_waits(listener, id))
		ret = -ESRCH;
	else
		ret = pwrite(fd, &byte, 1, address) == 1 ? 0 : -errno;
	close(fd);
	return ret;
}

long softsgx_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *regs)
{
	__cpuid_count(leaf, subleaf, regs[0], regs[1], regs[2], regs[3]);
	return 0;
}

/* 1 if two processes have one address space, as after vfork; else 0. */
long softsgx_same_memory(pid_t a, pid_t b)
{
	return syscall(SYS_kcmp, a, b, KCMP_VM, 0, 0) == 0;
}

/* 1 if there is a process whose number is this; 0 for its other threads. */
long softsgx_is_leader(pid_t tid)
{
	return syscall(SYS_tgkill, tid, tid, 0) == 0;
}

/* The counter when the clock was read: the closest of some pairs of readings. */
static uint64_t tsc_at(struct timespec *when)
{
	uint64_t best = UINT64_MAX, found = 0;

	for (int i = 0; i < TSC_READINGS; i++) {
		struct timespec now;
		uint64_t before = __rdtsc(), took;

		clock_gettime(CLOCK_MONOTONIC_RAW, &now);
		took = __rdtsc() - before;
		if (took >= best)
			continue;
		best = took;
		found = before + took / 2;
		*when = now;
	}
	return found;
}

/* What the time stamp counter does in a millisecond, by the kernel's own calibration:
 * that is what its raw clock counts with. */
long softsgx_tsc_khz(void)
{
	const struct timespec nap = {0, TSC_NAP_NS};
	struct timespec first = {0}, last = {0};
	uint64_t from = tsc_at(&first), ticks;
	long ns;

	nanosleep(&nap, NULL);
	ticks = tsc_at(&last) - from;
	ns = (last.tv_sec - first.tv_sec) * 1000000000 + last.tv_nsec - first.tv_nsec;
	return ns > 0 ? (long)((__uint128_t)ticks * 1000000 / ns) : 0;
}

/* What the kernel enabled of the extended state. */
long softsgx_xcr0(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (long)high << 32 | low;
}
