/* SPDX-License-Identifier: Apache-2.0
 *
 * Following an execve: ptrace for the moment between the kernel's work and the
 * program's first instruction, and the agent's injection in that moment.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gen_abi.h"
#include "softsgx.h"

#define MAX_STACK_WORDS 8192
#define USER64_CS 0x33

static pid_t main_child;
static int main_status = -1;

/* ---- waiting ---- */

static int event_of(int status)
{
	return status >> 16;
}

/* Wait for a stop of the process; an end of the main child is kept for later. */
static long wait_stop(pid_t tid, pid_t tgid, int *status)
{
	for (;;) {
		pid_t got = waitpid(-1, status, __WALL);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == main_child && !WIFSTOPPED(*status))
			main_status = *status;
		if (got != tid && got != tgid)
			continue;
		return WIFSTOPPED(*status) ? got : -ESRCH;
	}
}

long softsgx_wait_child(pid_t pid)
{
	int status;

	main_child = pid;
	if (main_status != -1)
		return main_status;
	if (waitpid(pid, &status, WNOHANG | WUNTRACED) == pid) {
		if (!WIFSTOPPED(status))
			main_status = status;
		return status;
	}
	return -1;
}

/* ---- following ---- */

static long answer_continue(int listener, uint64_t id)
{
	struct seccomp_notif_resp resp = {.id = id,
					  .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp) ? -errno : 0;
}

/* Let an execve go on and stop the process at its first instruction.  Returns the pid
 * that is stopped now, 0 if the execve failed or the process ended. */
long softsgx_follow_exec(int listener, uint64_t id, pid_t tid, pid_t tgid)
{
	int status, executed = 0, signo;
	long got;

	if (ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)) {
		return -errno; /* traced by another: the caller answers */
	}
	answer_continue(listener, id);
	ptrace(PTRACE_INTERRUPT, tid, 0, 0);
	for (;;) {
		got = wait_stop(tid, tgid, &status);
		if (got < 0)
			return 0;
		signo = 0;
		if (event_of(status) == PTRACE_EVENT_EXEC) {
			executed = 1;
			tid = tgid;
			ptrace(PTRACE_INTERRUPT, tid, 0, 0);
		} else if (event_of(status) == PTRACE_EVENT_STOP) {
			if (executed)
				return got;
			ptrace(PTRACE_DETACH, got, 0, 0);
			return 0;
		} else {
			signo = WSTOPSIG(status);
		}
		ptrace(PTRACE_CONT, got, 0, signo);
	}
}

long softsgx_detach(pid_t pid)
{
	return ptrace(PTRACE_DETACH, pid, 0, 0) ? -errno : 0;
}

long softsgx_kill_traced(pid_t pid)
{
	kill(pid, SIGKILL);
	return softsgx_detach(pid);
}

/* ---- remote work ---- */

static long run_until_trap(pid_t pid, int request)
{
	int status, stopped = 0;
	long got;

	do {
		if (ptrace(request, pid, 0, 0))
			return -errno;
		got = wait_stop(pid, pid, &status);
		if (got < 0)
			return got;
		/* Only SIGSTOP can come through: it is sent again when we are done. */
		if (WSTOPSIG(status) == SIGSTOP && !event_of(status))
			stopped = 1;
	} while (WSTOPSIG(status) != SIGTRAP || event_of(status));
	if (stopped)
		kill(pid, SIGSTOP);
	return 0;
}

static long remote_mmap(pid_t pid, const struct user_regs_struct *saved)
{
	struct user_regs_struct regs = *saved;
	long word, ret;

	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, pid, saved->rip, 0);
	if (errno)
		return -errno;
	/* syscall; the rest of the word as it was */
	if (ptrace(PTRACE_POKETEXT, pid, saved->rip, (word & ~0xffffl) | 0x050f))
		return -errno;
	regs.rax = SYS_mmap;
	regs.orig_rax = -1;
	regs.rdi = AGENT_BASE;
	regs.rsi = AGENT_SIZE;
	regs.rdx = PROT_READ | PROT_WRITE | PROT_EXEC;
	regs.r10 = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	regs.r8 = -1;
	regs.r9 = 0;
	ptrace(PTRACE_SETREGS, pid, 0, &regs);
	ret = run_until_trap(pid, PTRACE_SINGLESTEP);
	ptrace(PTRACE_GETREGS, pid, 0, &regs);
	ptrace(PTRACE_POKETEXT, pid, saved->rip, word);
	if (ret == 0 && regs.rax != AGENT_BASE)
		ret = -EEXIST;
	return ret;
}

/* Find AT_SYSINFO_EHDR above the stack pointer of a fresh process: argc, argv, envp,
 * auxv.  Returns its address and the value. */
static long find_vdso(pid_t pid, uint64_t sp, uint64_t *address, uint64_t *value)
{
	static uint64_t words[MAX_STACK_WORDS];
	long got = softsgx_read(pid, sp, words, sizeof(words));
	size_t n, i;

	/* The stack may end before the buffer does. */
	for (size_t size = sizeof(words); got < 0 && size > 4096; size /= 2)
		got = softsgx_read(pid, sp, words, size / 2);
	if (got < 0)
		return got;
	n = got / 8;
	i = 1 + words[0] + 1;
	while (i < n && words[i])
		i++;
	for (i++; i + 1 < n && words[i] != AT_NULL; i += 2) {
		if (words[i] != AT_SYSINFO_EHDR)
			continue;
		*address = sp + (i + 1) * 8;
		*value = words[i + 1];
		return 0;
	}
	return -ENOENT;
}

/* ---- the machine's own vDSO: the same image in every process ---- */

static const char *const passed_on[] = {"__vdso_clock_gettime", "__vdso_gettimeofday",
					"__vdso_time", "__vdso_getcpu",
					"__vdso_clock_getres"};
#define NR_PASSED (sizeof(passed_on) / sizeof(passed_on[0]))

static uint64_t own_vdso_offset(const char *name)
{
	uint64_t base = getauxval(AT_SYSINFO_EHDR);
	const Elf64_Ehdr *ehdr = (const void *)base;
	const Elf64_Phdr *phdr = (const void *)(base + ehdr->e_phoff);
	const Elf64_Dyn *dyn = NULL;
	const Elf64_Sym *sym = NULL;
	const uint32_t *hash = NULL;
	const char *str = NULL;

	for (int i = 0; i < ehdr->e_phnum; i++)
		if (phdr[i].p_type == PT_DYNAMIC)
			dyn = (const void *)(base + phdr[i].p_offset);
	for (; dyn && dyn->d_tag != DT_NULL; dyn++) {
		if (dyn->d_tag == DT_SYMTAB)
			sym = (const void *)(base + dyn->d_un.d_ptr);
		if (dyn->d_tag == DT_STRTAB)
			str = (const void *)(base + dyn->d_un.d_ptr);
		if (dyn->d_tag == DT_HASH)
			hash = (const void *)(base + dyn->d_un.d_ptr);
	}
	for (uint32_t i = 0; sym && str && hash && i < hash[1]; i++)
		if (sym[i].st_shndx && strcmp(str + sym[i].st_name, name) == 0)
			return sym[i].st_value;
	return 0;
}

static long write_vdso(pid_t pid, const struct softsgx_image *image, uint64_t real)
{
	static uint64_t offsets[NR_PASSED];
	uint64_t slots[NR_PASSED], at = AGENT_BASE + VDSO_OFFSET;
	long ret;

	for (size_t i = 0; i < NR_PASSED; i++) {
		if (!offsets[i])
			offsets[i] = own_vdso_offset(passed_on[i]);
		slots[i] = real + offsets[i];
	}
	ret = softsgx_write(pid, at, image->vdso, image->vdso_size);
	if (ret < 0)
		return ret;
	return softsgx_write(pid, at + image->vdso_slots, slots, sizeof(slots));
}

/* Write the image's pages that are not all zero: fresh memory is. */
static long write_agent(pid_t pid, const struct softsgx_image *image)
{
	static const uint8_t zero[4096];
	long ret = 0;

	for (uint64_t at = 0; at < image->agent_size && ret >= 0; at += 4096) {
		uint64_t rest = image->agent_size - at;
		uint64_t size = rest < 4096 ? rest : 4096;

		if (memcmp(image->agent + at, zero, size))
			ret = softsgx_write(pid, AGENT_BASE + at, image->agent + at, size);
	}
	return ret;
}

/* Signals wait while we work in the process: a handler has no stack to run on, and one
 * that is due would keep a single step from being made.  Our own traps are SIGTRAP. */
static long hold_signals(pid_t pid, uint64_t *mask)
{
	uint64_t all = ~(1ul << (SIGTRAP - 1));

	if (ptrace(PTRACE_GETSIGMASK, pid, sizeof(*mask), mask) ||
	    ptrace(PTRACE_SETSIGMASK, pid, sizeof(all), &all))
		return -errno;
	return 0;
}

/* What the agent keeps unblocked stays so, and the agent is told of it. */
static void release_signals(pid_t pid, const struct softsgx_image *image, uint64_t mask)
{
	uint64_t hidden = 1ul << (SIGTRAP - 1) | 1ul << (SIGSYS - 1);

	mask = (mask | image->blocked) & ~hidden;
	ptrace(PTRACE_SETSIGMASK, pid, sizeof(mask), &mask);
}

/* Fault signals that were blocked before: the kernel's mask loses some of them. */
static long write_blocked(pid_t pid, const struct softsgx_image *image, uint64_t mask)
{
	uint64_t blocked = mask | image->blocked;

	return softsgx_write(pid, image->data + offsetof(struct abi_config, blocked),
			     &blocked, sizeof(blocked));
}

static long inject(pid_t pid, const struct softsgx_image *image, uint64_t mask)
{
	struct user_regs_struct saved, regs;
	uint64_t auxv = 0, real = 0, ours = AGENT_BASE + VDSO_OFFSET;
	long ret;

	if (ptrace(PTRACE_GETREGS, pid, 0, &saved))
		return -errno;
	if (saved.cs != USER64_CS)
		return -ENOEXEC;
	ret = remote_mmap(pid, &saved);
	if (ret == 0)
		ret = write_agent(pid, image);
	if (ret >= 0)
		ret = softsgx_write(pid, image->data, image->config, image->config_size);
	if (ret >= 0)
		ret = write_blocked(pid, image, mask);
	if (ret < 0)
		return ret;
	if (find_vdso(pid, saved.rsp, &auxv, &real) == 0) {
		ret = write_vdso(pid, image, real);
		if (ret >= 0)
			ret = softsgx_write(pid, auxv, &ours, sizeof(ours));
		if (ret < 0)
			return ret;
	}
	regs = saved;
	regs.rip = image->start;
	regs.rsp = AGENT_BASE + FORK_OFFSET - 64;
	regs.orig_rax = -1;
	ptrace(PTRACE_SETREGS, pid, 0, &regs);
	ret = run_until_trap(pid, PTRACE_CONT);
	saved.orig_rax = -1;
	ptrace(PTRACE_SETREGS, pid, 0, &saved);
	return ret;
}

/* Put the agent into a process that stands at its first instruction. */
long softsgx_inject(pid_t pid, const struct softsgx_image *image)
{
	uint64_t mask;
	long ret = hold_signals(pid, &mask);

	if (ret < 0)
		return ret;
	ret = inject(pid, image, mask);
	release_signals(pid, image, mask);
	return ret;
}
