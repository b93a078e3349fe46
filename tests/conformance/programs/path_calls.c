/* Calls about paths by libc: while signals come, at the end of a stack, with SIGSEGV
 * blocked, from many threads, in a child of vfork, and behind a filter of the program's. */
/* link: glibc */
#include "check.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>

static volatile unsigned seen[65];
static sigjmp_buf back;

static void count(int signo)
{
	struct stat about;
	int was = errno;

	CHECK(stat("/dev/null", &about) == 0 && S_ISCHR(about.st_mode));
	seen[signo]++;
	errno = was;
}

static void leave(int signo)
{
	siglongjmp(back, signo);
}

/* Once each, with the results that plain calls have. */
static void calls(void)
{
	struct stat about;
	int fd = open("/dev/null", O_RDONLY);

	CHECK(fd >= 0 && fstat(fd, &about) == 0 && S_ISCHR(about.st_mode));
	CHECK(close(fd) == 0);
	CHECK_FAILS(open("/nowhere/at/all", O_RDONLY), ENOENT);
	CHECK(stat("/dev", &about) == 0 && S_ISDIR(about.st_mode));
	CHECK_FAILS(stat("/dev/null/x", &about), ENOTDIR);
	CHECK_FAILS(fstatat(AT_FDCWD, "/nowhere", &about, 0), ENOENT);
	CHECK(access("/dev/null", R_OK) == 0);
	CHECK_FAILS(access("/nowhere", F_OK), ENOENT);
	CHECK_FAILS(access((char *)8, F_OK), EFAULT);
	CHECK(access("/dev/", X_OK) == 0 && access("/dev/.", X_OK) == 0);
	CHECK_FAILS(access("/nowhere/", F_OK), ENOENT);
	CHECK(stat("/proc/self/", &about) == 0 && S_ISDIR(about.st_mode));
	CHECK_FAILS(stat("/dev/null/", &about), ENOTDIR);
}

/* Signals of both kinds, from a timer and from another thread. */
static void *send(void *to)
{
	static const int signals[] = {SIGSEGV, SIGUSR1, SIGILL, SIGBUS, SIGTRAP, SIGFPE};

	for (int i = 0; i < 6000; i++) {
		CHECK(pthread_kill(*(pthread_t *)to, signals[i % 6]) == 0);
		if (i % 50 == 0)
			usleep(100);
	}
	return NULL;
}

static void among_signals(void)
{
	static const int signals[] = {SIGSEGV, SIGUSR1, SIGILL, SIGBUS,
				      SIGTRAP, SIGFPE,	SIGALRM};
	struct itimerval every = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
	pthread_t self = pthread_self(), sender;
	sigset_t mask;

	for (int i = 0; i < 7; i++)
		signal(signals[i], count);
	CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
	CHECK(pthread_create(&sender, NULL, send, &self) == 0);
	do
		calls();
	while (pthread_tryjoin_np(sender, NULL));
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(sigprocmask(SIG_SETMASK, NULL, &mask) == 0);
	for (int i = 0; i < 7; i++)
		CHECK(seen[signals[i]] > 0 && !sigismember(&mask, signals[i]));
}

/* A handler that does not come back. */
static void left_by_jumps(void)
{
	struct itimerval once = {{0, 0}, {0, 200}};

	signal(SIGALRM, leave);
	for (volatile int i = 0; i < 50; i++) {
		CHECK(setitimer(ITIMER_REAL, &once, NULL) == 0);
		if (sigsetjmp(back, 1) == 0)
			for (;;)
				calls();
	}
	signal(SIGALRM, SIG_DFL);
}

/* One that interrupts a call, and one that does not. */
static void interrupted(void)
{
	struct sigaction act = {.sa_handler = count};
	struct itimerval every = {{0, 20000}, {0, 20000}}, never = {{0, 0}, {0, 0}};
	char name[] = "/tmp/path-calls-XXXXXX";
	int fd;

	CHECK(mkdtemp(name) && chdir(name) == 0 && mkfifo("fifo", 0600) == 0);
	CHECK(sigaction(SIGALRM, &act, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
	CHECK_FAILS(open("fifo", O_RDONLY), EINTR);
	act.sa_flags = SA_RESTART;
	CHECK(sigaction(SIGALRM, &act, NULL) == 0);
	if (fork() == 0) {
		usleep(100000);
		_exit(open("fifo", O_WRONLY) < 0);
	}
	fd = open("fifo", O_RDONLY);
	CHECK(fd >= 0 && close(fd) == 0 && wait(NULL) > 0);
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(unlink("fifo") == 0 && chdir("/") == 0 && rmdir(name) == 0);
}

/* The kernel needs nothing of a stack: a call may be made where it ends. */
static char *edge;

static void on_the_edge(size_t room)
{
	static struct stat about;
	const char *path = "/dev/null";
	struct stat *to = &about;
	long ret;

	__asm__ volatile("mov %%rsp, %%rbx\n\tlea (%3,%4), %%rsp\n\tcall stat\n\t"
			 "mov %%rbx, %%rsp"
			 : "=&a"(ret), "+D"(path), "+S"(to)
			 : "r"(edge), "r"(room)
			 : "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc");
	CHECK((int)ret == 0 && S_ISCHR(about.st_mode));
}

static void at_the_end_of_a_stack(void)
{
	stack_t stack = {.ss_size = 65536, .ss_sp = malloc(65536)};
	char *pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(sigaltstack(&stack, NULL) == 0);
	CHECK(pages != MAP_FAILED && mprotect(pages, 4096, PROT_NONE) == 0);
	edge = pages + 4096;
	for (size_t room = 64; room <= 4096; room += 16)
		on_the_edge(room);
	CHECK(munmap(pages, 3 * 4096) == 0);
}

/* A bad pointer is EFAULT, whatever is blocked. */
static void with_all_blocked(void)
{
	sigset_t all, before;
	struct stat about;

	sigfillset(&all);
	CHECK(sigprocmask(SIG_SETMASK, &all, &before) == 0);
	CHECK_FAILS(stat((char *)8, &about), EFAULT);
	CHECK_FAILS(access((char *)8, F_OK), EFAULT);
	CHECK_FAILS(open((char *)-4096l, O_RDONLY), EFAULT);
	CHECK(stat("/dev/null", &about) == 0);
	CHECK(sigprocmask(SIG_SETMASK, &before, NULL) == 0);
}

static void *many(void *arg)
{
	for (int i = 0; i < 200; i++)
		calls();
	return arg;
}

static void in_threads(void)
{
	pthread_t threads[8];

	for (int i = 0; i < 8; i++)
		CHECK(pthread_create(&threads[i], NULL, many, NULL) == 0);
	for (int i = 0; i < 8; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

static void in_a_child_of_vfork(void)
{
	int status;
	pid_t child = vfork();

	if (child == 0) {
		calls();
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	calls();
}

/* What the program's own filter refuses is refused. */
static void filtered(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {4, code};
	struct stat about;

	calls();
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
	CHECK_FAILS(open("/dev/null", O_RDONLY), EXDEV);
	CHECK(stat("/dev/null", &about) == 0);
}

int main(void)
{
	calls();
	among_signals();
	left_by_jumps();
	interrupted();
	at_the_end_of_a_stack();
	with_all_blocked();
	in_threads();
	in_a_child_of_vfork();
	CHECK(status_of(filtered) == 0);
	return 0;
}
