/* SPDX-License-Identifier: Apache-2.0 */
/*
 * argv: seed, rounds.  Each round some processes do what they can think of; then there
 * is a quiet moment, in which a well-behaved process must get right answers.  The line
 * "quiet", and how much was done, on stdout says so, and a line on stdin lets the next round begin.
 */
#include "fuzz.h"

#include <poll.h>
#include <sys/prctl.h>
#include <time.h>

#define PROCESSES 3
#define THREADS_EACH 2
#define ACTS 150
#define PATIENCE_S 8

struct victim victim;
__thread sigjmp_buf after;
__thread volatile int armed, endless;
static volatile uint64_t *acts_done; /* by all processes */

/* ---- a process of the storm ---- */

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	if (armed) {
		armed = 0;
		siglongjmp(after, 1);
	}
	_exit(3);
}

static void on_tick(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	if (armed && endless) {
		armed = 0;
		siglongjmp(after, 1);
	}
}

static void on_nothing(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
}

void handlers_install(void)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS };

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		catch_signal(faults[i], on_fault, SA_ONSTACK | SA_NODEFER);
	catch_signal(SIGRTMIN, on_tick, SA_ONSTACK | SA_NODEFER);
	catch_signal(SIGUSR1, on_nothing, SA_ONSTACK);
	catch_signal(SIGUSR2, on_nothing, SA_ONSTACK | SA_RESTART);
	catch_signal(SIGPROF, on_nothing, SA_ONSTACK);
}

static act *const acts[] = {
	act_enclu, act_enclu, act_enclu, act_vdso, act_vdso, act_vdso, act_raw_entry,
	act_own_leaf, act_own_leaf, act_ioctl, act_ioctl, act_ioctl, act_map, act_protect,
	act_unmap, act_files, act_source, act_raise, act_masks, act_stack, act_timer,
	act_thread, act_fork, act_exec, act_limits, act_filter, act_forge, act_forge,
};

void act_often(unsigned int times)
{
	for (volatile unsigned int i = 0; i < times; i++) {
		act *one = acts[roll(sizeof(acts) / sizeof(acts[0]))];

		endless = 0;
		if (sigsetjmp(after, 1) == 0) {
			armed = 1;
			__atomic_add_fetch(acts_done, 1, __ATOMIC_RELAXED);
			one();
		}
		armed = 0;
	}
}

static void *storm(void *number)
{
	struct sigevent tick = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN,
				 ._sigev_un._tid = gettid() };
	struct itimerspec often = { { 0, 20000000 }, { 0, 20000000 } };
	static __thread uint8_t stack[32 * PAGE];
	stack_t own = { .ss_sp = stack, .ss_size = sizeof(stack) };
	timer_t timer;

	thread_begin((uint64_t)number);
	sigaltstack(&own, NULL);
	if (timer_create(CLOCK_MONOTONIC, &tick, &timer) == 0)
		timer_settime(timer, 0, &often, NULL);
	act_often(ACTS);
	return NULL;
}

static void process(uint64_t number, const struct enclave *spared)
{
	pthread_t thread;

	/* What the parent will rely on is not for us to break. */
	munmap((void *)spared->base, spared->size);
	close(spared->fd);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(PATIENCE_S);
	thread_begin(number);
	/* What the agent says of calls that somebody made in its name is expected. */
	victim.forges = roll(3) == 0;
	if (victim.forges)
		close(2);
	victim.arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	victim.e = host_load("3");
	for (int i = 0; i < 8; i++)
		victim.fds[i] = i % 2 ? victim.e.fd : open("/dev/sgx_enclave", O_RDWR);
	handlers_install();
	for (uint64_t i = 1; i < THREADS_EACH; i++)
		pthread_create(&thread, NULL, storm, (void *)(number * 8 + i));
	storm((void *)(number * 8));
	_exit(0);
}

/* ---- the rounds ---- */

static void wait_for(const pid_t *pids)
{
	for (int i = 0; i < PROCESSES; i++) {
		struct timespec nap = { 0, 2000000 };
		int left = (PATIENCE_S + 2) * 500;

		while (waitpid(pids[i], NULL, WNOHANG) == 0) {
			if (--left == 0)
				kill(pids[i], SIGKILL);
			nanosleep(&nap, NULL);
		}
	}
}

/* Some wait for ever for a lock that a jump out of a handler left taken. */
static void end_orphans(void)
{
	char path[64];
	FILE *file;
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	file = fopen(path, "r");
	while (file && fscanf(file, "%d", &pid) == 1)
		kill(pid, SIGKILL);
	if (file)
		fclose(file);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

/* What a process that has done no harm must get. */
static void sentinel(const struct enclave *old)
{
	struct enclave e = host_load("3");
	uint64_t page = e.base + SPARE;
	const uint64_t fresh = SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING;

	vdso_ask(host_tcs(old, 1), DO_NOTHING, 0, 0, 0);
	CHECK(mmap((void *)page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, e.fd,
		   0) != MAP_FAILED);
	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENCLU, page, EACCEPT, fresh) == 0);
	vdso_ask(host_tcs(&e, 0), DO_WRITE, page, 0x5a, 0);
	CHECK(vdso_ask(host_tcs(&e, 1), DO_READ, page, 0, 0) == 0x5a);
	CHECK(munmap((void *)e.base, e.size) == 0 && close(e.fd) == 0);
}

static void quiet(void)
{
	char line[8];

	dprintf(1, "quiet %llu\n", (unsigned long long)*acts_done);
	if (read(0, line, sizeof(line)) <= 0)
		exit(0);
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 0) : 10;
	struct enclave own = host_load("3");

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	acts_done = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(acts_done != MAP_FAILED);
	sentinel(&own);
	quiet();
	for (uint64_t round = first; round < first + rounds; round++) {
		pid_t pids[PROCESSES];

		for (int i = 0; i < PROCESSES; i++) {
			pids[i] = fork();
			CHECK(pids[i] >= 0);
			if (pids[i] == 0)
				process(round * PROCESSES + (uint64_t)i, &own);
		}
		wait_for(pids);
		end_orphans();
		sentinel(&own);
		quiet();
	}
	return 0;
}
