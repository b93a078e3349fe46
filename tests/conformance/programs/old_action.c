/* sigaction gives back exactly what was set, first of all SIG_DFL. */
#include "check.h"

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
}

int main(void)
{
	for (int signo = 1; signo < 32; signo++) {
		struct sigaction set, old;

		if (signo == SIGKILL || signo == SIGSTOP) {
			CHECK_FAILS(sigaction(signo, &(struct sigaction){ 0 }, NULL), EINVAL);
			continue;
		}
		CHECK(sigaction(signo, NULL, &old) == 0);
		CHECK(old.sa_handler == SIG_DFL && old.sa_flags == 0);
		memset(&set, 0, sizeof(set));
		set.sa_sigaction = handler;
		set.sa_flags = SA_SIGINFO | SA_NODEFER;
		sigaddset(&set.sa_mask, SIGUSR2);
		CHECK(sigaction(signo, &set, &old) == 0);
		CHECK(old.sa_handler == SIG_DFL);
		CHECK(sigaction(signo, NULL, &old) == 0);
		CHECK(old.sa_sigaction == handler);
		CHECK((old.sa_flags & ~0x04000000) == (SA_SIGINFO | SA_NODEFER));
		CHECK(sigismember(&old.sa_mask, SIGUSR2) == 1);
		CHECK(sigismember(&old.sa_mask, SIGUSR1) == 0);
		CHECK(signal(signo, SIG_IGN) != SIG_ERR);
		CHECK(sigaction(signo, NULL, &old) == 0 && old.sa_handler == SIG_IGN);
	}
	CHECK_FAILS(syscall(SYS_rt_sigaction, SIGILL, (void *)8, NULL, 8), EFAULT);
	CHECK_FAILS(syscall(SYS_rt_sigaction, SIGILL, NULL, (void *)8, 8), EFAULT);
	CHECK_FAILS(syscall(SYS_rt_sigaction, SIGILL, NULL, NULL, 4), EINVAL);
	CHECK_FAILS(syscall(SYS_rt_sigaction, 65, NULL, NULL, 8), EINVAL);
	return 0;
}
