/* SPDX-License-Identifier: Apache-2.0
 *
 * Linux's x86-64 system call numbers and structures that the agent uses, as
 * documented in the manual pages syscalls(2), sigaction(2), sigreturn(2), seccomp(2).
 * No libc header is included: the kernel's structures differ from libc's.
 */
#pragma once

#define NR_read 0
#define NR_write 1
#define NR_open 2
#define NR_close 3
#define NR_stat 4
#define NR_fstat 5
#define NR_statfs 137
#define NR_process_vm_readv 310
#define NR_lstat 6
#define NR_lseek 8
#define NR_mmap 9
#define NR_mprotect 10
#define NR_munmap 11
#define NR_rt_sigaction 13
#define NR_rt_sigprocmask 14
#define NR_rt_sigreturn 15
#define NR_ioctl 16
#define NR_pwrite64 18
#define NR_writev 20
#define NR_access 21
#define NR_pread64 17
#define NR_pwrite64 18
#define NR_sched_yield 24
#define NR_mremap 25
#define NR_msync 26
#define NR_madvise 28
#define NR_nanosleep 35
#define NR_getpid 39
#define NR_sendto 44
#define NR_recvfrom 45
#define NR_execve 59
#define NR_exit 60
#define NR_wait4 61
#define NR_kill 62
#define NR_fcntl 72
#define NR_truncate 76
#define NR_getcwd 79
#define NR_chdir 80
#define NR_fchdir 81
#define NR_statfs 137
#define NR_rename 82
#define NR_mkdir 83
#define NR_rmdir 84
#define NR_creat 85
#define NR_link 86
#define NR_unlink 87
#define NR_symlink 88
#define NR_readlink 89
#define NR_chmod 90
#define NR_chown 92
#define NR_lchown 94
#define NR_mknod 133
#define NR_mkdirat 258
#define NR_mknodat 259
#define NR_fchownat 260
#define NR_unlinkat 263
#define NR_renameat 264
#define NR_linkat 265
#define NR_symlinkat 266
#define NR_fchmodat 268
#define NR_utimensat 280
#define NR_renameat2 316
#define NR_getrusage 98
#define NR_prlimit64 302
#define RLIMIT_NOFILE_ 7
#define NR_ptrace 101
#define NR_waitid 247
#define NR_mlock 149
#define NR_mlockall 151
#define NR_munlockall 152
#define NR_remap_file_pages 216
#define NR_mlock2 325
#define NR_prctl 157
#define PR_SET_PDEATHSIG_ 1
#define PR_GET_PDEATHSIG_ 2
#define PR_GET_TSC_ 25
#define PR_SET_TSC_ 26
#define PR_TSC_ENABLE_ 1
#define PR_TSC_SIGSEGV_ 2
#define PR_SET_SYSCALL_USER_DISPATCH_ 59
#define PR_SYS_DISPATCH_ON_ 1
#define PR_GET_DUMPABLE_ 3
#define PR_SET_DUMPABLE_ 4
#define PR_SET_SECCOMP_ 22
#define NR_rt_sigpending 127
#define NR_rt_sigtimedwait 128
#define NR_rt_sigqueueinfo 129
#define NR_rt_sigsuspend 130
#define NR_sigaltstack 131
#define NR_arch_prctl 158
#define NR_gettid 186
#define NR_mount 165
#define MS_BIND_ 4096
#define NR_getxattr 191
#define NR_lgetxattr 192
#define NR_listxattr 194
#define NR_llistxattr 195
#define NR_tkill 200
#define NR_getdents64 217
#define NR_clock_gettime 228
#define NR_tgkill 234
#define NR_openat 257
#define NR_newfstatat 262
#define NR_readlinkat 267
#define NR_faccessat 269
#define NR_pselect6 270
#define NR_ppoll 271
#define NR_epoll_pwait 281
#define NR_dup3 292
#define NR_rt_tgsigqueueinfo 297
#define NR_seccomp 317
#define NR_clone3 435
#define NR_userfaultfd 323
#define NR_statx 332
#define NR_pidfd_send_signal 424
#define NR_open_tree 428
#define NR_openat2 437
#define NR_faccessat2 439
#define NR_epoll_pwait2 441
#define NR_exit_group 231

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define ARCH_GET_GS 0x1004
#define ARCH_SET_CPUID 0x1012

#define AT_FDCWD_ (-100)
#define AT_EMPTY_PATH_ 0x1000u
#define O_ACCMODE_ 3
#define O_WRONLY_ 1
#define O_CREAT_ 0100
#define O_TRUNC_ 01000
#define O_DIRECTORY_ 0200000
#define O_CLOEXEC_ 02000000
#define O_PATH_ 010000000
#define F_GET_SEALS_ 1034
#define F_SEAL_WRITE_ 8
#define S_IFMT_ 0170000
#define S_IFDIR_ 0040000
#define S_IFREG_ 0100000

#define PROT_NONE_ 0
#define PROT_READ_ 1
#define PROT_WRITE_ 2
#define PROT_EXEC_ 4
#define MAP_SHARED_ 0x01
#define MAP_PRIVATE_ 0x02
#define MAP_TYPE_ 0x0f
#define MAP_FIXED_ 0x10
#define MAP_ANONYMOUS_ 0x20
#define MAP_NORESERVE_ 0x4000
#define MAP_FIXED_NOREPLACE_ 0x100000

#define MADV_DONTNEED_ 4
#define MADV_DONTFORK_ 10
#define MADV_DONTDUMP_ 16
#define MADV_WIPEONFORK_ 18
#define PR_SET_NO_NEW_PRIVS_ 38

#define EPERM_ 1
#define ENOENT_ 2
#define ESRCH_ 3
#define EINTR_ 4
#define ENOMEM_ 12
#define EACCES_ 13
#define EFAULT_ 14
#define ENODEV_ 19
#define EMFILE_ 24
#define ENOTDIR_ 20
#define EINVAL_ 22
#define ENOSYS_ 38

#define SIGILL 4
#define SIGTRAP 5
#define SIGBUS 7
#define SIGFPE 8
#define SIGKILL 9
#define SIGSEGV 11
#define SIGSTOP 19
#define SIGSYS 31

#define SI_USER_ 0
#define SI_KERNEL 0x80
#define SYS_SECCOMP_ 1
#define ILL_ILLOPN_ 2
#define FPE_FLTINV_ 7
#define TRAP_TRACE_ 2

#define SA_ONSTACK_ 0x08000000u
#define SA_NODEFER_ 0x40000000u
#define SA_RESETHAND_ 0x80000000u
#define SA_RESTART_ 0x10000000u
#define SA_SIGINFO_ 4u
#define SA_RESTORER_ 0x04000000u
#define SIG_DFL_ 0ul
#define SIG_IGN_ 1ul

/* What a program of 64 bits begins with; and how sigreturn takes SS seriously. */
#define USER64_CS 0x33
#define USER64_SS 0x2b
#define RFLAGS_IF 0x200
#define UC_SIGCONTEXT_SS_ 2
#define UC_STRICT_RESTORE_SS_ 4

#define SS_ONSTACK_ 1
#define SS_DISABLE_ 2
#define SS_AUTODISARM_ (1u << 31)
#define MINSIGSTKSZ_ 2048

struct k_timespec {
	int64_t seconds, nanoseconds;
};

struct k_rusage {
	uint64_t times[4], sizes[4], minor_faults, others[9];
};

struct k_stack {
	uint64_t sp;
	int32_t flags;
	uint32_t pad;
	uint64_t size;
};

struct k_sigaction {
	uint64_t handler;
	uint64_t flags;
	uint64_t restorer;
	uint64_t mask;
};

struct k_siginfo {
	int32_t signo, errno_, code, pad;
	uint64_t addr;		/* si_addr, or _call_addr of SIGSYS */
	uint8_t rest[104];
};
_Static_assert(sizeof(struct k_siginfo) == 128, "siginfo");

struct k_sigcontext {
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2;
	uint8_t *fpstate;
	uint64_t reserved[8];
};
_Static_assert(sizeof(struct k_sigcontext) == 256, "sigcontext");

struct k_ucontext {
	uint64_t flags;
	uint64_t link;
	struct k_stack stack;
	struct k_sigcontext mc;
	uint64_t sigmask;
};
_Static_assert(sizeof(struct k_ucontext) == 304, "ucontext");

/* What the kernel pushes for a handler: return address, context, siginfo. */
struct k_rt_sigframe {
	uint64_t pretcode;
	struct k_ucontext uc;
	struct k_siginfo info;
};
_Static_assert(sizeof(struct k_rt_sigframe) == 440, "rt_sigframe");

/* Bytes 464.. of the FXSAVE image: how long the kernel's frame really is. */
#define FP_SW_BYTES 464
#define PROC_SUPER_MAGIC_ 0x9fa0
#define FP_XSTATE_MAGIC1 0x46505853u
#define XSTATE_BV 512
