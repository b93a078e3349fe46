/* A thread sends itself fault signals in the kernel's own words: they are signals like any
 * others, whatever they say of a fault or of a system call.
 */
#include "check.h"
#include <pthread.h>
#include <sys/resource.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#define SYS_pidfd_send_signal 424
#endif

/* Codes as the kernel has them for each; SI_KERNEL for all. */
static const struct {
	int signo, code;
} faults[] = {
	{ SIGILL, ILL_ILLOPN }, { SIGSEGV, SEGV_MAPERR }, { SIGSEGV, SI_KERNEL },
	{ SIGBUS, BUS_ADRERR }, { SIGFPE, FPE_INTDIV }, { SIGTRAP, SI_KERNEL },
	{ SIGTRAP, TRAP_TRACE }, { SIGSYS, 1 /* SYS_SECCOMP */ },
	{ SIGSYS, 2 /* SYS_USER_DISPATCH */ },
};
#define COUNT (int)(sizeof(faults) / sizeof(faults[0]))
#ifndef OTHERS
#define OTHERS 5 /* of them are also sent to a process of two threads */
#endif
/* What filters may say beside a trap: each of these is a number like any other. */
static const int data[] = { 0, 0x5358, 0x5359, 0x8000, 0x8001 };

static siginfo_t sent, seen;
static volatile int count;
static volatile pid_t seen_by;
static int current;

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)context;
	CHECK(signo == current);
	seen = *info;
	seen_by = (pid_t)syscall(SYS_gettid);
	count++;
}

static void prepare(int i)
{
	memset(&sent, 0, sizeof(sent));
	current = sent.si_signo = faults[i].signo;
	sent.si_code = faults[i].code;
	sent.si_addr = (void *)0x1234560;
}

static long by_process(void)
{
	return syscall(SYS_rt_sigqueueinfo, getpid(), current, &sent);
}

static long by_thread(void)
{
	return syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), current,
		       &sent);
}

static long by_pidfd(void)
{
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	long ret;

	if (fd < 0)
		return by_thread();
	ret = syscall(SYS_pidfd_send_signal, fd, current, &sent, 0);
	CHECK(close(fd) == 0);
	return ret;
}

static long (*const ways[])(void) = { by_process, by_thread, by_pidfd };
#define WAYS (int)(sizeof(ways) / sizeof(ways[0]))

static void block(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, current);
	CHECK(sigprocmask(how, &set, NULL) == 0);
}

static void one(int i, int way)
{
	int before = count;
	sigset_t set;

	prepare(i);
	catch_signal(current, handler, 0);
	CHECK(ways[way]() == 0 && count == before + 1);
	CHECK(memcmp(&seen, &sent, 48) == 0);
	/* Blocked, it waits. */
	block(SIG_BLOCK);
	CHECK(ways[way]() == 0 && count == before + 1);
	CHECK(sigpending(&set) == 0 && sigismember(&set, current) == 1);
	block(SIG_UNBLOCK);
	CHECK(count == before + 2 && memcmp(&seen, &sent, 48) == 0);
	/* Ignored, it is nothing. */
	signal(current, SIG_IGN);
	CHECK(ways[way]() == 0 && count == before + 2);
}

static int by_default_of;

static void by_default(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	signal(current, SIG_DFL);
	ways[by_default_of]();
}

/* ---- the address and the number of a system call, as a filter's trap has them ---- */

/* rt_tgsigqueueinfo; the address behind its SYSCALL is the second value. */
static long forge_here(int tid)
{
	long ret, pid = getpid();
	register siginfo_t *r10 __asm__("r10") = &sent;

	__asm__ volatile("lea 1f(%%rip), %%rax\n"
			 "mov %%rax, 16(%[info])\n"
			 "mov %[nr], %%eax\n"
			 "syscall\n"
			 "1:\n"
			 : "=&a"(ret)
			 : "D"(pid), "S"((long)tid), "d"((long)current),
			   "r"(r10), [info] "b"(&sent), [nr] "i"(SYS_rt_tgsigqueueinfo)
			 : "rcx", "r11", "memory");
	return ret;
}

static void like_a_trap(void)
{
	for (size_t i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
		int before = count;

		prepare(COUNT - 2);
		catch_signal(current, handler, 0);
		sent.si_errno = data[i];
		sent.si_syscall = 0;
		sent.si_arch = 0xc000003e;
		CHECK(forge_here((int)syscall(SYS_gettid)) == 0 && count == before + 1);
		CHECK(memcmp(&seen, &sent, 48) == 0);
	}
}

/* ---- who may send such a one, and who gets it ---- */

static volatile int stop;
static volatile pid_t other;

static void *spin(void *unused)
{
	other = (pid_t)syscall(SYS_gettid);
	while (!stop)
		usleep(500);
	return unused;
}

static void to_another_thread(int i)
{
	int before = count;
	pthread_t thread;

	prepare(i);
	catch_signal(current, handler, 0);
	stop = other = 0;
	CHECK(pthread_create(&thread, NULL, spin, NULL) == 0);
	while (!other)
		usleep(500);
	block(SIG_BLOCK);
	CHECK(by_process() == 0);
	for (int n = 0; n < 60000 && count == before; n++)
		usleep(1000);
	CHECK(count == before + 1 && seen_by == other);
	CHECK(memcmp(&seen, &sent, 48) == 0);
	block(SIG_UNBLOCK);
	/* Only to itself: neither another thread nor another process. */
	CHECK_FAILS(syscall(SYS_rt_tgsigqueueinfo, getpid(), other, current, &sent), EPERM);
	CHECK_FAILS(syscall(SYS_rt_sigqueueinfo, getppid(), current, &sent), EPERM);
	stop = 1;
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(count == before + 1);
}

int main(void)
{
	for (int way = 0; way < WAYS; way++) {
		for (int i = 0; i < COUNT; i++) {
			int status;

			one(i, way);
			by_default_of = way;
			status = status_of(by_default);
			CHECK(WIFSIGNALED(status) && WTERMSIG(status) == current);
		}
	}
	like_a_trap();
	for (int i = 0; i < OTHERS; i++)
		to_another_thread(i);
	CHECK_FAILS(syscall(SYS_rt_sigqueueinfo, getpid(), SIGSYS, NULL), EFAULT);
	CHECK_FAILS(syscall(SYS_rt_tgsigqueueinfo, getpid(), 0, SIGSYS, &sent), EINVAL);
	return 0;
}
