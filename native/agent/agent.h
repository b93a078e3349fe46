/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent: freestanding code inside the program that runs under softsgx.
 *
 * It owns the real handlers of the signals that SGX work needs, gives the program
 * virtual ones, carries out EENTER, ERESUME, EEXIT and asynchronous exits, and asks
 * the supervisor for everything that needs the EPCM, a key or the driver.
 *
 * Nothing in here is trusted by the supervisor: the program can write all of it.
 */
#pragma once

#include "gen_abi.h"
#include "linux_abi.h"

struct sock_filter;

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define HIDDEN __attribute__((visibility("hidden")))
#define PACKED __attribute__((packed))

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

#include "curtain.h"
#include "narrow.h"

/* ---- entry.S ---- */
HIDDEN void agent_entry(void);		/* real handler of every signal we own */
HIDDEN void agent_kernel_restorer(void); /* where our own handler returns to */
HIDDEN void __attribute__((noreturn)) agent_sigreturn(struct k_ucontext *uc);
/* Copy between the program's memory and ours: 0, or -EFAULT. */
HIDDEN long agent_copy(void *to, const void *from, u64 size);
/* Copy a string, at most size bytes: its length, size if longer, or -EFAULT. */
HIDDEN long agent_copy_string(char *to, const char *from, u64 size);
/* Put to in place of from: 0, 1 if something else was there, or -EFAULT. */
HIDDEN long agent_swap(u64 *at, u64 from, u64 to);
extern HIDDEN u8 agent_copy_begin[], agent_copy_end[], agent_copy_fault[];
/* A system call that is made outside our handler, with the program's own mask. */
extern HIDDEN u8 agent_reissue[], agent_reissue_rdi[], agent_reissue_r10[];
extern HIDDEN u8 agent_reissue_wait[], agent_waited_end[];
extern HIDDEN u8 agent_tail[], agent_tail_end[];
extern HIDDEN u8 agent_border_begin[], agent_border_end[];
extern HIDDEN u8 agent_reissue_rsi[], agent_reissue_rdx[], agent_reissue_r8[], agent_reissue_r9[], agent_reissue_path[];
extern HIDDEN u8 agent_reissue_at[], agent_reissue_look[], agent_reissue_end[];
#define REDZONE 128
HIDDEN void __attribute__((noreturn))
agent_leave_stack(struct k_ucontext *uc, u64 start, u64 length);
HIDDEN long agent_set_altstack(const struct k_stack *stack, u64 sp);

static inline long syscall6(long nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	long ret;
	register u64 r10 __asm__("r10") = d;
	register u64 r8 __asm__("r8") = e;
	register u64 r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#define sys(nr, ...) SYS_PICK(__VA_ARGS__, 6, 5, 4, 3, 2, 1)(nr, __VA_ARGS__)
#define SYS_PICK(a, b, c, d, e, f, n, ...) SYS_##n
#define SYS_1(nr, a) syscall6(nr, (u64)(a), 0, 0, 0, 0, 0)
#define SYS_2(nr, a, b) syscall6(nr, (u64)(a), (u64)(b), 0, 0, 0, 0)
#define SYS_3(nr, a, b, c) syscall6(nr, (u64)(a), (u64)(b), (u64)(c), 0, 0, 0)
#define SYS_4(nr, a, b, c, d) \
	syscall6(nr, (u64)(a), (u64)(b), (u64)(c), (u64)(d), 0, 0)
#define SYS_5(nr, a, b, c, d, e) \
	syscall6(nr, (u64)(a), (u64)(b), (u64)(c), (u64)(d), (u64)(e), 0)
#define SYS_6(nr, a, b, c, d, e, f) \
	syscall6(nr, (u64)(a), (u64)(b), (u64)(c), (u64)(d), (u64)(e), (u64)(f))

/* ---- signals ---- */
#define SIGBIT(sig) (1ul << ((sig)-1))
/* Signals that tell of a fault: the agent always owns them and never lets the kernel
 * block them, because the kernel kills whoever faults while its signal is blocked. */
#define FAULT_SIGNALS                                                        \
	(SIGBIT(SIGILL) | SIGBIT(SIGTRAP) | SIGBIT(SIGBUS) | SIGBIT(SIGFPE) | \
	 SIGBIT(SIGSEGV) | SIGBIT(SIGSYS))
#define NSIG_ 64

/* An enclave of this process, as far as EENTER and an exit need to know it. */
struct enclave {
	u64 base, size;	/* size 0: the program maps it no more */
	u8 *alias;	/* second mapping of its memory, and the EPCM words behind it */
	u64 alias_length;
	struct abi_tally *tallies; /* in it, behind the words: of each page */
	u64 attributes, xfrm;
	u32 ssaframesize, miscselect;
	u32 threads;	/* inside it */
	u32 is_private;	/* a child of fork has it not */
	struct curtain curtain;
};

/* A thread that entered an enclave; its block also holds its signal stack. */
struct thread {
	u64 magic;
	u32 tid;
	u32 inside;		/* in enclave mode: 0 or 1, the kernel reads it too */
	u32 exact;		/* entered by the model: leaves it by the model */
	struct enclave *encl;
	u64 tcs, aep, savefs, savegs;
	u64 ursp, urbp;		/* of the host, at the last entry */
	u32 savetf, opted_in;	/* RFLAGS.TF of the host; entry by DBGOPTIN */
	struct k_stack altstack; /* the program's own */
	u32 guarded;		/* its system calls inside are dispatched to us */
	u64 lifted;		/* an instruction whose breakpoint it met last */
	u64 unread;		/* where code could not be had when it looked last */
	u32 no_rdtsc;		/* RDTSC faults, by our doing */
	struct detour detour;
};

struct frame {			/* one delivery of a signal to the agent */
	int sig;
	struct k_siginfo *info;
	struct k_ucontext *uc;
	struct thread *th;	/* NULL: this thread never entered an enclave */
};

/* ---- threads.c ---- */
HIDDEN struct thread *thread_of_stack(void);
HIDDEN struct thread *thread_new(struct k_ucontext *uc);
HIDDEN struct k_ucontext *thread_keep_frame(struct thread *th, const struct k_ucontext *uc);
extern HIDDEN u32 block_owner[]; /* a thread, by block */
HIDDEN const u32 *thread_owner(u32 index);
HIDDEN struct thread *thread_block(u32 index);
HIDDEN int thread_known(const struct thread *th);
HIDDEN struct thread *thread_of(u32 tid);
HIDDEN int thread_is(const struct thread *th, u32 tid);
HIDDEN struct k_stack thread_stack(const struct thread *th);
HIDDEN void threads_forked(void);

/* ---- main.c ---- */
HIDDEN void signal_program(struct frame *f);
HIDDEN u64 deferred_signals(void);
HIDDEN void deferred_forked(void);

/* ---- masks.c ---- */
HIDDEN u64 masks_real(u64 mask);   /* what of a mask the kernel may have */
HIDDEN u64 masks_hidden(u64 mask); /* the rest */
HIDDEN u64 masks_blocked(void);
HIDDEN u64 masks_pending(void);
HIDDEN void masks_set(u64 mask);
HIDDEN void masks_hold(const struct k_siginfo *info);
HIDDEN int masks_take(u64 set, struct k_siginfo *info);
HIDDEN void masks_watched(void);
HIDDEN void masks_use_sgx(void);
HIDDEN void masks_inherit(u64 blocked, u64 pending);
HIDDEN void masks_forked(void);

/* ---- actions.c ---- */
HIDDEN void action_real(int sig, u64 handler, u64 flags);
HIDDEN void action_own(int sig, u64 program_flags);
HIDDEN struct k_sigaction action_take(int sig);
HIDDEN void actions_init(void);
HIDDEN void actions_own_all(void);
HIDDEN void actions_forked(void);
HIDDEN long do_sigaction(struct frame *f);
HIDDEN long do_sigprocmask(struct frame *f);
HIDDEN long do_sigpending(struct frame *f);
HIDDEN int do_sigtimedwait(struct frame *f);

/* ---- deliver.c ---- */
HIDDEN void deliver(struct frame *f);
HIDDEN void signal_requeue(const struct k_siginfo *info);
HIDDEN u64 frame_fp_size(const u8 *fpstate);
HIDDEN void agent_return(struct k_ucontext *uc);
HIDDEN void do_sigreturn(struct frame *f);
HIDDEN long do_sigaltstack(struct frame *f);

/* ---- takeover.c ---- */
struct k_fprog {
	u16 len;
	struct sock_filter *filter;
};
HIDDEN void install_filter(const struct k_fprog *prog);
HIDDEN void become_sgx_user(struct frame *f);
HIDDEN int open_own_mask(struct frame *f);
HIDDEN void takeover_forked(void);
#define FILTERED_SGX 1	/* bits of config.filtered */
#define FILTERED_VIEWS 2
#define FILTERED_WRITES 4
#define FILTERED_OWN 8	/* by the program */
#define FILTERED_BUFFERS 16 /* times a count: of ranges that buffers.c watches */
HIDDEN void filter_first(void);

/* ---- forged.c ---- */
HIDDEN int do_send_info(struct frame *f);
HIDDEN void forged_unmark(struct k_siginfo *info);

/* ---- seccomp.c ---- */
HIDDEN void do_seccomp(struct frame *f);
HIDDEN void do_prctl_seccomp(struct frame *f);
HIDDEN int trapped_by_own_filter(struct frame *f);
HIDDEN int is_our_trap(const struct frame *f);

/* ---- syscalls.c, reissue.c, paths.c, views.c, mappings.c ---- */
HIDDEN void trapped_syscall(struct frame *f);
HIDDEN void reissue(struct frame *f);
HIDDEN void reissue_with(struct frame *f, u64 *reg, u8 *gate, const void *data,
			 u64 size);
HIDDEN void reissue_masked(struct frame *f, u64 *reg, u8 *gate);
HIDDEN void reissue_wait(struct frame *f);
HIDDEN void reissue_pselect(struct frame *f);
HIDDEN void reissue_unwind(struct k_sigcontext *mc);
HIDDEN void note_stepped(const struct k_sigcontext *mc);
HIDDEN int reissue_stepped(const struct k_sigcontext *mc);
HIDDEN void do_execve(struct frame *f);
HIDDEN void reissue_path(struct frame *f, int has_directory);
HIDDEN int reissue_late(struct frame *f);
HIDDEN int path_syscall(struct frame *f);
HIDDEN void path_not_found(struct frame *f);
HIDDEN void paths_init(const u64 *stack);
HIDDEN void views_opened(struct frame *f, long fd, u64 flags);
HIDDEN int is_listed(const u64 *status);
HIDDEN void views_watch(void);
HIDDEN void views_filter(void);
HIDDEN long status_of(u64 fd, u64 *status);
HIDDEN void do_getdents(struct frame *f);
HIDDEN void do_write(struct frame *f);
HIDDEN int view_is_open(u64 fd);
HIDDEN int overlaps_hull(u64 start, u64 length);
HIDDEN void do_ioctl(struct frame *f);
HIDDEN void do_mmap(struct frame *f);
HIDDEN void do_mprotect(struct frame *f);
HIDDEN void do_munmap(struct frame *f);
HIDDEN void do_mremap(struct frame *f);
HIDDEN void do_madvise(struct frame *f);

/* ---- memfile.c: /proc/PID/mem ---- */
HIDDEN void memory_opens(u64 path);
HIDDEN int memory_watches(u64 path);
HIDDEN void do_transfer(struct frame *f);

/* ---- tracer.c, born.c: debuggers, and programs that begin under one ---- */
#define BORN_VALUE 0x736f667473677862ul /* of the SIGTRAP that tells of it */
HIDDEN void do_ptrace(struct frame *f);
HIDDEN void do_waited(struct frame *f);
HIDDEN void stop_for_tracer(void);
HIDDEN int stop_of_ours(struct frame *f);
HIDDEN void born_under_tracer(void);
extern HIDDEN u64 visit_stop; /* the thread whose tracer waits for its visit to end */
/* A signal that asks its thread to open its mask: only the value tells. */
#define OPEN_MASK_VALUE 0x736f667473677861ul
HIDDEN enum site_kind site_known(u64 site, u64 address);
HIDDEN const u64 *site_slot(u64 address, u64 n);

/* ---- crossing.c: into an enclave and out of it ---- */
#define NO_VECTOR 0x100
#define RFLAGS_TF 0x100ul
HIDDEN void host_enclu(struct frame *f);
HIDDEN int eexit_native(struct frame *f);
HIDDEN int edeccssa_native(struct frame *f);
HIDDEN void edeccssa_known(void);
HIDDEN u64 ssa_frame(const struct enclave *e, const u8 *tcs, u32 index);
HIDDEN void leave_enclave_mode(struct frame *f);

/* ---- inside.c, outside.c: faults and signals of either side ---- */
HIDDEN void inside_signal(struct frame *f);
HIDDEN int outside_fault(struct frame *f);
HIDDEN void undefined(struct frame *f);

/* ---- forbidden.c: instructions that an enclave does not have ---- */
HIDDEN int at_forbidden(u64 rip);
HIDDEN void forbid_calls(struct thread *th);
HIDDEN void forbid_rdtsc(struct thread *th);
HIDDEN int allow_rdtsc(struct thread *th);
HIDDEN int at_rdtsc(u64 rip);
HIDDEN int is_prefix(u8 byte);

/* ---- registers.c, xsave.c: the state that an exit saves and ERESUME loads ---- */
#define G(reg) (*(u64 *)(gpr + (reg)))
HIDDEN void gpr_store_context(const struct k_sigcontext *mc, struct abi_context *ctx);
HIDDEN void gpr_load_context(struct k_sigcontext *mc, const struct abi_context *ctx);
HIDDEN void gpr_save(const struct k_sigcontext *mc, u8 *gpr);
HIDDEN void gpr_load(struct k_sigcontext *mc, u8 *gpr);
#define VECTOR_MF 16
#define VECTOR_XM 19
HIDDEN void xsave_store(const u8 *fp, u8 *ssa, u64 xfrm);
HIDDEN void xsave_synthetic(u8 *fp, u64 xfrm, u32 vector);
HIDDEN int xsave_load(u8 *fp, u64 ssa, u64 xfrm);

/* ---- aex.c ---- */
HIDDEN void enclave_exit(struct frame *f, u32 vector, u32 error, u64 address);

/* ---- context.c ---- */
HIDDEN void ask_enclu(struct frame *f);
HIDDEN void wait_outside(struct frame *f);
HIDDEN void refused(long error, const char *otherwise);
HIDDEN void raise_fault(struct frame *f, struct abi_context *ctx);
HIDDEN void raise_plain(struct frame *f, u32 vector, int signo, int sicode);
HIDDEN void raise_single_step(struct frame *f);
HIDDEN void context_fill(struct frame *f, struct abi_context *ctx);
HIDDEN void context_load(struct frame *f, const struct abi_context *ctx);
HIDDEN void thread_inside(struct thread *th, struct enclave *e);
HIDDEN void thread_outside(struct thread *th);

/* ---- ops.c ---- */
HIDDEN void notice_fork(void);
HIDDEN int borrowed_memory(void);
HIDDEN long call_supervisor(u64 call, u64 a, u64 b, u64 c, u64 d, u64 e);
struct answer {
	struct abi_context ctx;
	struct abi_op ops[MAX_OPS];
	long memory; /* a descriptor, to map what is to be mapped */
};
/* The first errno of the kernel; 0. */
HIDDEN long carry_out(struct answer *ans);
HIDDEN void carry_out_fault(struct answer *ans);

/* ---- sites.c ---- */
HIDDEN int at_enclu(u64 rip);
HIDDEN int at_cpuid(u64 rip);
enum site_kind { SITE_NONE, SITE_ENCLU, SITE_CPUID, SITE_WINDOW, SITE_STATE };
HIDDEN enum site_kind site_of(struct frame *f);
HIDDEN enum site_kind site_lookup(u64 address);
HIDDEN void site_add(u64 address, enum site_kind kind);
HIDDEN void sites_init(void);
HIDDEN void sites_of_text(u64 start, u64 length, u64 fd, u64 offset);
HIDDEN void site_unwind(struct frame *f);
HIDDEN void site_patch(u64 address, enum site_kind kind);
HIDDEN void emulate_cpuid(struct k_ucontext *uc);
HIDDEN void overlaid_cpuid(u32 *a, u32 *b, u32 *c, u32 *d);
HIDDEN void native_cpuid(u32 *a, u32 *b, u32 *c, u32 *d);

/* ---- the agent's data ---- */
struct agent_data {
	struct abi_config config;	/* first: the supervisor writes it */
	struct abi_overlay overlays[MAX_OVERLAYS];
	u64 vdso_enclu, vdso_fault, vdso_restorer; /* addresses in our vDSO image */
	u64 has_fsgsbase;
	struct abi_listed listed[MAX_LISTED];
	u64 sites[MAX_SITES];		/* CPUIDs rewritten before we began */
	struct abi_bare bare[MAX_BARE];
	struct abi_masked masked[MAX_MASKED]; /* the supervisor reads it at execve */
	u32 pid;		/* of the process that this copy belongs to */
	u32 parent;		/* whose fork the supervisor has not been told of */
	u32 own_deathsig;	/* the program set its parent's death signal */
	u32 undumpable;		/* the program believes that it cannot be looked at */
	u64 hull_start, hull_end;	/* all enclave mappings lie in here */
	u64 generation;			/* rises when a mapping of an enclave changes */
	struct k_sigaction actions[NSIG_ + 1];
	struct enclave enclaves[64];
};
_Static_assert(offsetof(struct agent_data, masked) == MASKED_OFFSET, "masked");
extern HIDDEN struct agent_data A;

static inline u64 rdfsbase(void)
{
	u64 base = 0;

	if (A.has_fsgsbase)
		__asm__ volatile("rdfsbase %0" : "=r"(base));
	else
		sys(NR_arch_prctl, ARCH_GET_FS, &base);
	return base;
}

static inline u64 rdgsbase(void)
{
	u64 base = 0;

	if (A.has_fsgsbase)
		__asm__ volatile("rdgsbase %0" : "=r"(base));
	else
		sys(NR_arch_prctl, ARCH_GET_GS, &base);
	return base;
}

static inline void wrfsgsbase(u64 fs, u64 gs)
{
	if (A.has_fsgsbase) {
		__asm__ volatile("wrfsbase %0; wrgsbase %1" : : "r"(fs), "r"(gs));
		return;
	}
	sys(NR_arch_prctl, ARCH_SET_FS, fs);
	sys(NR_arch_prctl, ARCH_SET_GS, gs);
}

static inline u64 xcr0(void)
{
	u32 low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (u64)high << 32 | low;
}

HIDDEN void *memcpy(void *to, const void *from, unsigned long size);
HIDDEN void *memset(void *to, int value, unsigned long size);
HIDDEN void __attribute__((noreturn)) fatal(const char *why);
