/* Each signal there is, sent to a thread inside: it is handled once, with what the sender
 * said; a handler's changes of the mask and of the signal stack stay.
 *
 * link: all
 */
#include "host.h"

#include <sched.h>

static struct enclave e;
static struct op op;
static volatile int count[65], wrong;
static pid_t main_thread;
static uint8_t first[64 * 1024], second[64 * 1024];

static int is_sent(int signo)
{
	return signo != SIGKILL && signo != SIGSTOP && (signo < 32 || signo >= SIGRTMIN);
}

static void on_any(int signo, siginfo_t *info, void *context)
{
	count[signo]++;
	wrong += info->si_signo != signo || info->si_code != SI_TKILL ||
		 info->si_pid != getpid();
	if (GREG(context, RIP) == (greg_t)own_aep)
		check_synthetic(context, host_tcs(&e, 0), own_aep);
}

static void on_change(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)info;
	count[signo]++;
	CHECK(uc->uc_stack.ss_sp == first);
	uc->uc_stack = (stack_t){ .ss_sp = second, .ss_size = sizeof(second) };
	sigaddset(&uc->uc_sigmask, SIGUSR2);
	sigdelset(&uc->uc_sigmask, SIGWINCH);
}

static void send(int signo)
{
	CHECK(syscall(SYS_tgkill, getpid(), main_thread, signo) == 0);
	while (!count[signo])
		sched_yield();
}

static void *sends_all(void *argument)
{
	(void)argument;
	while (!op.started)
		sched_yield();
	for (int signo = 1; signo <= 64; signo++)
		if (is_sent(signo))
			send(signo);
	op.stop = 1;
	return NULL;
}

static void *sends_one(void *argument)
{
	(void)argument;
	while (!op.started)
		sched_yield();
	send(SIGUSR1);
	op.stop = 1;
	return NULL;
}

/* The other thread leaves what comes to this one. */
static void inside_while(void *(*work)(void *))
{
	sigset_t all, before;
	pthread_t thread;

	op = (struct op){ .what = DO_SPIN };
	sigfillset(&all);
	CHECK(pthread_sigmask(SIG_BLOCK, &all, &before) == 0);
	CHECK(pthread_create(&thread, NULL, work, NULL) == 0);
	CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
	own_enter(&op, host_tcs(&e, 0));
	CHECK(pthread_join(thread, NULL) == 0 && op.result == 1);
}

static void changes(void)
{
	stack_t stack = { .ss_sp = first, .ss_size = sizeof(first) };
	sigset_t set;

	CHECK(sigaltstack(&stack, NULL) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	catch_signal(SIGUSR1, on_change, 0);
	count[SIGUSR1] = 0;
	inside_while(sends_one);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &set) == 0);
	CHECK(sigismember(&set, SIGUSR2) == 1 && sigismember(&set, SIGWINCH) == 0);
	CHECK(sigaltstack(NULL, &stack) == 0 && stack.ss_sp == second);
}

int main(void)
{
	e = host_load("3");
	main_thread = (pid_t)syscall(SYS_gettid);
	for (int signo = 1; signo <= 64; signo++)
		if (is_sent(signo))
			catch_signal(signo, on_any, signo % 2 ? SA_RESTART : 0);
	inside_while(sends_all);
	for (int signo = 1; signo <= 64; signo++)
		CHECK(count[signo] == is_sent(signo));
	CHECK(!wrong);
	changes();
	return 0;
}
