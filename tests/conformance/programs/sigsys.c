/* A program's own seccomp filter traps a call; its own SIGSYS handler answers it. */
#include "check.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

static volatile int seen;

static void handler(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGSYS && info->si_code == 1 /* SYS_SECCOMP */);
	CHECK(info->si_syscall == SYS_getppid);
	CHECK(info->si_arch == AUDIT_ARCH_X86_64);
	CHECK(info->si_errno == 42);
	CHECK(info->si_call_addr == (void *)GREG(context, RIP));
	CHECK(GREG(context, RAX) == SYS_getppid);
	GREG(context, RAX) = 4711;
	seen++;
}

int main(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP | 42),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = 4, .filter = code };

	catch_signal(SIGSYS, handler, 0);
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
	for (int i = 1; i <= 10; i++) {
		CHECK(syscall(SYS_getppid) == 4711);
		CHECK(seen == i);
	}
	CHECK(getpid() > 0);
	return 0;
}
