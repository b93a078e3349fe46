/* Every way of sending and taking signals while a thread is inside an enclave: order,
 * values, masks, nesting, signal stacks, and dispositions.
 */
#include "host.h"

#include <sys/signalfd.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static struct enclave e;
static struct inside in;
static volatile int order[64], depth, deepest, got, inside_hits;
static volatile int go;
static char stack[65536];
static sigset_t waited;

static void settle(volatile int *what, int until)
{
	for (int i = 0; i < 200000 && *what < until; i++)
		usleep(500);
	CHECK(*what == until);
}

static void note_inside(void *context)
{
	if (GREG(context, RAX) == ERESUME && GREG(context, RBX) == (greg_t)in.tcs)
		inside_hits++;
}

/* ---- real-time signals: each with its value, in their order ---- */

static void on_value(int signo, siginfo_t *info, void *context)
{
	note_inside(context);
	CHECK(info->si_code == SI_QUEUE && info->si_pid == getpid());
	order[got] = signo << 8 | info->si_value.sival_int;
	got++;
}

static void hold(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	go = 1;
	while (go == 1)
		__asm__ volatile("pause");
}

static void queue(int signo, int value)
{
	CHECK(pthread_sigqueue(in.thread, signo, (union sigval){ .sival_int = value }) == 0);
}

/* They wait while a handler that blocks them runs, and come lowest number first, each
 * number in the order of its sending. */
static void real_time(void)
{
	struct sigaction act = { .sa_sigaction = on_value, .sa_flags = SA_SIGINFO };

	sigfillset(&act.sa_mask);
	for (int i = 0; i < 3; i++)
		CHECK(sigaction(SIGRTMIN + i, &act, NULL) == 0);
	act.sa_sigaction = hold;
	CHECK(sigaction(SIGUSR1, &act, NULL) == 0);
	for (int round = 0; round < 5; round++) {
		got = go = 0;
		CHECK(pthread_kill(in.thread, SIGUSR1) == 0);
		settle(&go, 1);
		for (int i = 0; i < 4; i++)
			for (int n = 2; n >= 0; n--)
				queue(SIGRTMIN + n, i);
		go = 2;
		settle(&got, 12);
		for (int i = 0; i < 12; i++)
			CHECK(order[i] == ((SIGRTMIN + i / 4) << 8 | i % 4));
	}
}

/* ---- nesting ---- */

static void on_nested(int signo, siginfo_t *info, void *context)
{
	(void)info;
	note_inside(context);
	if (++depth > deepest)
		deepest = depth;
	got++;
	if (signo == SIGUSR2 && got < 40)
		CHECK(tgkill(getpid(), gettid(), SIGUSR2) == 0);
	depth--;
}

static void nested(int flags, int expected)
{
	catch_signal(SIGUSR2, on_nested, flags);
	got = depth = deepest = 0;
	CHECK(pthread_kill(in.thread, SIGUSR2) == 0);
	settle(&got, 40);
	CHECK(deepest == expected);
}

/* ---- signal stacks ---- */

static void on_own_stack(int signo, siginfo_t *info, void *context)
{
	stack_t now;
	char here;

	(void)signo, (void)info;
	note_inside(context);
	CHECK(&here - stack > 0 && &here - stack < (long)sizeof(stack));
	CHECK(sigaltstack(NULL, &now) == 0);
	if (((ucontext_t *)context)->uc_stack.ss_flags & (int)SS_AUTODISARM) {
		/* It is disarmed while it is used, so that a new one can be set. */
		CHECK(now.ss_flags == SS_DISABLE && now.ss_size == 0);
	} else {
		CHECK(now.ss_flags == SS_ONSTACK && now.ss_size == sizeof(stack));
		now.ss_flags = SS_DISABLE;
		CHECK_FAILS(sigaltstack(&now, NULL), EPERM);
		/* Nor does the return set one. */
		((ucontext_t *)context)->uc_stack = now;
	}
	got++;
}

static void *with_stack(void *argument)
{
	const stack_t mine = { .ss_sp = stack, .ss_size = sizeof(stack),
			       .ss_flags = *(int *)argument };
	stack_t after;

	CHECK(sigaltstack(&mine, NULL) == 0);
	vdso_do(in.tcs, &in.op);
	CHECK(sigaltstack(NULL, &after) == 0);
	CHECK(after.ss_sp == stack && after.ss_size == sizeof(stack));
	CHECK(after.ss_flags == *(int *)argument);
	return NULL;
}

static void start_with_stack(int *flags)
{
	in.op = (struct op){ .what = DO_SPIN };
	CHECK(pthread_create(&in.thread, NULL, with_stack, flags) == 0);
	while (!in.op.started)
		usleep(100);
}

static void stacks(int flags)
{
	start_with_stack(&flags);
	catch_signal(SIGUSR1, on_own_stack, SA_ONSTACK);
	for (int i = 1; i <= 30; i++) {
		got = i - 1;
		CHECK(pthread_kill(in.thread, SIGUSR1) == 0);
		settle(&got, i);
	}
	inside_wait(&in);
	CHECK(in.op.result == 1);
}

/* ---- taken without a handler, while the other thread is inside ---- */

static void waited_for(void)
{
	struct timespec soon = { 0, 1000000 };
	struct signalfd_siginfo read_one;
	siginfo_t info;
	int fd;

	CHECK(sigtimedwait(&waited, &info, &soon) == -1 && errno == EAGAIN);
	CHECK(sigqueue(getpid(), SIGRTMIN + 5, (union sigval){ .sival_int = 77 }) == 0);
	CHECK(sigwaitinfo(&waited, &info) == SIGRTMIN + 5);
	CHECK(info.si_code == SI_QUEUE && info.si_value.sival_int == 77);
	fd = signalfd(-1, &waited, SFD_CLOEXEC);
	CHECK(fd >= 0);
	CHECK(sigqueue(getpid(), SIGRTMIN + 5, (union sigval){ .sival_int = 78 }) == 0);
	CHECK(read(fd, &read_one, sizeof(read_one)) == sizeof(read_one));
	CHECK(read_one.ssi_signo == (uint32_t)SIGRTMIN + 5 && read_one.ssi_int == 78);
	CHECK(close(fd) == 0);
}

/* ---- dispositions ---- */

static void reset_hand(void)
{
	struct sigaction now;

	catch_signal(SIGUSR1, on_nested, (int)SA_RESETHAND);
	got = 0;
	CHECK(pthread_kill(in.thread, SIGUSR1) == 0);
	settle(&got, 1);
	CHECK(sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
	signal(SIGUSR1, SIG_IGN);
	for (int i = 0; i < 10; i++)
		CHECK(pthread_kill(in.thread, SIGUSR1) == 0);
	usleep(5000);
	CHECK(got == 1);
}

int main(void)
{
	e = host_load("3");
	in.tcs = host_tcs(&e, 0);
	in.op = (struct op){ .what = DO_SPIN };
	sigemptyset(&waited);
	sigaddset(&waited, SIGRTMIN + 5);
	CHECK(pthread_sigmask(SIG_BLOCK, &waited, NULL) == 0);
	inside_start(&in);
	waited_for();
	real_time();
	nested(0, 1);
	nested(SA_NODEFER, 40);
	reset_hand();
	inside_wait(&in);
	CHECK(in.op.result == 1);
	stacks(0);
	stacks((int)SS_AUTODISARM);
	CHECK(inside_hits > 10);
	return 0;
}
