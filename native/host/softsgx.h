/* SPDX-License-Identifier: Apache-2.0
 *
 * The supervisor's native part: system calls that Python has no words for.  Every
 * function returns a negative errno on failure; all decisions are Python's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define API __attribute__((visibility("default")))

/* vm.c: the memory of another process. */
long read_memory(pid_t pid, uint64_t from, void *to, size_t size);

/* The same of a thread that waits for our answer to notification id of a listener: what
 * was read counts only if it still waited then, for its number may be another's by now.
 * -ESRCH if not.  A listener of -1: nobody waits, the number is believed. */
API long softsgx_read(int listener, uint64_t id, pid_t pid, uint64_t from, void *to,
		      size_t size);
API long softsgx_write(int listener, uint64_t id, pid_t pid, uint64_t to,
		       const void *from, size_t size);
API long softsgx_copy_pages(int listener, uint64_t id, pid_t pid, uint64_t from,
			    uint8_t *to, size_t size);
/* 1 if the thread still waits; else 0. */
API long softsgx_waits(int listener, uint64_t id);

API long softsgx_poke(int listener, uint64_t id, pid_t pid, uint64_t address,
		       uint8_t byte);
API long softsgx_xcr0(void);
API long softsgx_tsc_khz(void);
API long softsgx_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *regs);
API long softsgx_same_memory(pid_t a, pid_t b);
API long softsgx_is_leader(pid_t tid);

/* user.c: the calling thread's rights. */
API long softsgx_act_as(uid_t uid, gid_t gid);

/* measure.c: pages as the hash wants them; returns the bytes of the stream. */
API long softsgx_lay_out(uint8_t *stream, uint64_t offset, const uint8_t *secinfo,
			 const uint8_t *pages, size_t size);

/* launch.c: start the first process under the filter; or have been told of it. */
extern pid_t softsgx_first_process;
API void softsgx_adopt(pid_t pid);
API long softsgx_launch(const char *path, char *const argv[], char *const envp[],
			int *listener);

/* What every process of the tree gets. */
struct softsgx_image {
	const uint8_t *agent, *vdso, *config;
	uint64_t agent_size, vdso_size, config_size;
	uint64_t data;	     /* absolute address */
	uint64_t vdso_slots; /* offset in the vDSO image */
	const struct abi_bare *bare; /* files without CPUIDs: it need not ask about them */
	uint64_t nr_bare;
};

/* code.c: mappings; -ENOTTY where the kernel cannot say, -ENOENT if there is none. */
struct softsgx_mapping {
	uint64_t start, end, offset, inode;
	char path[512];
};
API long softsgx_code_mappings(pid_t pid, struct softsgx_mapping *found, size_t max);
API long softsgx_mapping_at(pid_t pid, uint64_t address, struct softsgx_mapping *to);

#define STUB_SIZE 32
/* A new program, from its execve to its first instruction. */
struct softsgx_start {
	uint64_t rip, rsp, mask;   /* it begins with */
	uint64_t blocked, pending; /* signals, known to the agent that was there before */
	uint64_t filtered;	   /* the second filter is there */
	uint64_t code[STUB_SIZE / 8]; /* under the stub */
	int32_t pid, error;
};

/* launch.c: a descriptor of ours for one of a process's. */
API long softsgx_take_fd(pid_t pid, int number);

/* exec.c: have a new program begin with a call to us; start->pid is written last. */
API void softsgx_read_hidden(pid_t tid, uint64_t data, struct softsgx_start *start);
API long softsgx_follow_exec(int listener, uint64_t id, pid_t tid, pid_t tgid,
			     uint64_t data, struct softsgx_start *start);
/* The main child's wait status, if there is news of it; else -1. */
API long softsgx_wait_child(pid_t pid);

/* pulse.c: a thread that works, and one that looks whether it is stuck. */
struct softsgx_pulse {
	uint32_t beat;	 /* odd: in a call */
	uint32_t parked; /* the other sleeps until the next beat */
	uint32_t stop;
};
API long softsgx_watch(struct softsgx_pulse *pulse);
API long softsgx_wake(struct softsgx_pulse *pulse);
/* 1 if the thread that is in call *beat* leads no more; 0, the call is over. */
API long softsgx_take_over(struct softsgx_pulse *pulse, uint32_t beat);
/* The beat of a call that begins; 0 if another thread took over before it ended. */
uint32_t pulse_begin(struct softsgx_pulse *pulse);
int pulse_end(struct softsgx_pulse *pulse, uint32_t beat);

/* inject.c: the agent's memory, and a byte over the CPUIDs at addresses: of these the ones
 * stay at which there was one, the others become 0. */
API long softsgx_inject(int listener, uint64_t id, const struct softsgx_image *image,
			const struct softsgx_start *start, uint64_t *addresses,
			size_t count);
#define SITE_INT3 0xcc
#define SITE_HLT 0xf4
API long softsgx_rewrite_cpuid(int listener, uint64_t id, pid_t pid,
			       uint64_t *addresses, size_t count, uint8_t byte);

/* known.c: what runs found in files, as host_code.py keeps it and tells it; an identity
 * is five words. */
struct softsgx_files;
API struct softsgx_files *softsgx_files(const char *text, size_t size);
API long softsgx_know(struct softsgx_files *files, const uint64_t *id,
		      const uint64_t *places, size_t count);
API long softsgx_known(struct softsgx_files *files, const uint64_t *id, uint64_t *places,
		       size_t max);

/* plain.c: trees whose programs use no SGX, served without Python. */
API long softsgx_plain_begin(int listener, const struct softsgx_image *image,
			     struct softsgx_files *files);
API long softsgx_plain_end(int listener);
API long softsgx_plain_quiet(int listener);
API long softsgx_take_start(int listener, pid_t pid, struct softsgx_start *start);
API long softsgx_put_start(int listener, const struct softsgx_start *start);
/* SERVE_CALL: due[0] is a listener, what it received is not for this part; SERVE_LATE:
 * another thread leads, the call is done. */
enum { MOST_DUE = 16, SERVE_CALL = 100, SERVE_LATE };
API long softsgx_serve(int epoll, int timeout_ms, struct softsgx_pulse *pulse, int *due,
		       void *received);
/* How many calls were: execve and its kin, programs that began, other ones. */
enum { SERVED_EXECS, SERVED_STARTS, SERVED_OTHERS, SERVED_KINDS };
API long softsgx_served(uint32_t kind);

/* attend.c: the signals of a run, and the end of its first process. */
API long softsgx_hear(void);
API long softsgx_attend(pid_t pid, int heard, int over, int *status);
API long softsgx_deafen(void);
API long softsgx_all_descriptors(void);
