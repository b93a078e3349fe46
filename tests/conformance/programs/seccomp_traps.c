/* Filters of the program's own, about calls that are also others' business: an errno, a
 * trap with a handler, a computed answer, death.
 */
#include "check.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define LOAD_NR BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define TRAPPED 7

static const int refused[] = { SYS_openat, SYS_mprotect, SYS_munmap, SYS_madvise,
			       SYS_rt_sigpending, SYS_getsid, SYS_sigaltstack };
#define NR_REFUSED (sizeof(refused) / sizeof(refused[0]))

static volatile int traps;
static uint8_t *page;
extern char call_site[];

/* A system call at a place that we know. */
long call_here(long nr, long a, long b, long c, long d);
__asm__(".globl call_here, call_site\n"
	"call_here:\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	syscall\n"
	"call_site:\n"
	"	ret\n");

static void on_trap(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGSYS && info->si_code == 1 /* SYS_SECCOMP */);
	CHECK(info->si_errno == TRAPPED);
	CHECK(info->si_call_addr == call_site);
	CHECK(GREG(context, RIP) == (greg_t)call_site);
	CHECK(info->si_syscall == GREG(context, RAX));
	CHECK(info->si_arch == 0xc000003e);
	traps++;
	GREG(context, RAX) = 1000 + info->si_syscall;
}

static void install(struct sock_filter *code, unsigned short length)
{
	struct sock_fprog program = { .len = length, .filter = code };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
}

static long try(int nr)
{
	if (nr == SYS_openat)
		return call_here(nr, AT_FDCWD, (long)"/dev/null", O_RDONLY, 0);
	return call_here(nr, (long)page, 4096, PROT_READ, 0);
}

/* The answer of a filter for the calls in question, a third of them each time. */
static void answer(uint32_t what, size_t nr)
{
	struct sock_filter code[] = {
		LOAD_NR,
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)refused[nr], 0, 1),
		RETURN(what),
		RETURN(SECCOMP_RET_ALLOW),
	};

	install(code, 4);
}

static void errnos(void)
{
	for (size_t i = 0; i < NR_REFUSED; i++) {
		answer(SECCOMP_RET_ERRNO | (EDOM + i), i);
		CHECK(try(refused[i]) == -(long)(EDOM + i));
		CHECK(*page == 0);
	}
}

static void with_handler(void)
{
	catch_signal(SIGSYS, on_trap, 0);
	for (size_t i = 0; i < NR_REFUSED; i++) {
		answer(SECCOMP_RET_TRAP | TRAPPED, i);
		CHECK(try(refused[i]) == 1000 + refused[i]);
		CHECK(traps == (int)i + 1);
		CHECK(*page == 0);
	}
}

/* The answer is in A: errno for one, a trap for another. */
static void computed(void)
{
	struct sock_filter code[] = {
		LOAD_NR,
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 2),
		BPF_STMT(BPF_LD | BPF_IMM, SECCOMP_RET_ERRNO | 0xffff),
		BPF_STMT(BPF_RET | BPF_A, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 1, 0),
		RETURN(SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_LD | BPF_IMM, SECCOMP_RET_TRAP | TRAPPED),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};

	catch_signal(SIGSYS, on_trap, 0);
	install(code, 8);
	CHECK(try(SYS_openat) == -4095);
	CHECK(try(SYS_mprotect) == 1000 + SYS_mprotect);
	CHECK(try(SYS_madvise) == 0);
	CHECK(traps == 1);
}

static void unhandled(void)
{
	answer(SECCOMP_RET_TRAP, 1);
	try(SYS_mprotect);
}

static void killed(void)
{
	answer(SECCOMP_RET_KILL_PROCESS, 0);
	try(SYS_openat);
}

static void logged(void)
{
	answer(SECCOMP_RET_LOG, 0);
	CHECK(try(SYS_openat) > 2);
}

static void strict(void)
{
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
	if (write(1, "", 0) == 0)
		syscall(SYS_exit, 9);
}

static void strict_and_more(void)
{
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
	getpid();
}

static void bad_programs(void)
{
	struct sock_filter wild[] = { BPF_JUMP(BPF_JMP | BPF_JA, 0, 0, 0) };
	struct sock_filter no_end[] = { LOAD_NR };
	struct sock_fprog program = { .len = 1, .filter = wild };

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK_FAILS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), EINVAL);
	program.filter = no_end;
	CHECK_FAILS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), EINVAL);
	program.filter = (struct sock_filter *)8;
	CHECK_FAILS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), EFAULT);
	CHECK_FAILS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0), EFAULT);
	program.len = 0;
	CHECK_FAILS(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), EINVAL);
	CHECK_FAILS(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL), EINVAL);
	CHECK_FAILS(prctl(PR_SET_SECCOMP, 77, 0, 0, 0), EINVAL);
}

int main(void)
{
	int status;

	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	CHECK(status_of(errnos) == 0);
	CHECK(status_of(with_handler) == 0);
	CHECK(status_of(computed) == 0);
	CHECK(status_of(logged) == 0);
	CHECK(status_of(bad_programs) == 0);
	status = status_of(unhandled);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	status = status_of(killed);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	CHECK(WEXITSTATUS(status_of(strict)) == 9);
	status = status_of(strict_and_more);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	return 0;
}
