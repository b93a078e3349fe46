/* A debug enclave whose thread a debugger has opted in (TCS.FLAGS.DBGOPTIN, by ptrace):
 * TF steps through its instructions, INT3 is a breakpoint, and each stop is an exit.
 *
 * link: all
 */
#include "host.h"

#include <sys/ptrace.h>

#define TF 0x100
#define TCS_FLAGS 8
#define DBGOPTIN 1
#define GPR_RIP 17
#define GPR_EXITINFO 20
#define VALID 0x80000000u

static struct enclave e;
static struct op op;
static uint64_t tcs;
static volatile int steps, behind, breaks, stop_at;
static volatile uint64_t first, last;

static void set_tf(int on)
{
	if (on)
		__asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq" : : : "cc", "memory");
	else
		__asm__ volatile("pushfq; andl $~0x100, (%%rsp); popfq" : : : "cc", "memory");
}

static void check_stop(const siginfo_t *info, const ucontext_t *uc, uint32_t exitinfo,
		       uint64_t *rip)
{
	struct op frame = { .what = DO_FRAME };
	const uint64_t *gpr = (const uint64_t *)frame.data;

	check_synthetic(uc, tcs, own_aep);
	CHECK((uint64_t)GREG(uc, TRAPNO) == (exitinfo & 0xff) && GREG(uc, ERR) == 0);
	CHECK(info->si_signo == SIGTRAP);
	own_enter(&frame, tcs);
	CHECK((uint32_t)gpr[GPR_EXITINFO] == exitinfo);
	CHECK(!(gpr[16] & TF)); /* as saved; the host's is the one that counts */
	*rip = gpr[GPR_RIP];
	CHECK(*rip - e.base < e.size);
}

static void on_trap(int signo, siginfo_t *info, void *context)
{
	struct op skip = { .what = DO_SKIP, .value = 1 };
	uint64_t rip;

	(void)signo;
	if (info->si_code == SI_KERNEL) { /* INT3: RIP is still at it. */
		check_stop(info, context, VALID | 0x603, &rip);
		CHECK(info->si_addr == NULL);
		CHECK(vdso_ask(host_tcs(&e, 1), DO_READ, rip, 0, 0) == 0xcc);
		own_enter(&skip, tcs);
		breaks++;
		return;
	}
	CHECK(info->si_code == TRAP_TRACE && info->si_addr == (void *)GREG(context, RIP));
	if (GREG(context, RIP) == (greg_t)own_back)
		behind++;
	if (GREG(context, RIP) != (greg_t)own_aep)
		return;
	check_stop(info, context, VALID | 0x301, &rip);
	if (!steps++)
		first = rip;
	CHECK(rip != last);
	last = rip;
	/* What is stepped through may have cleared it: the entry loads RFLAGS. */
	GREG(context, EFL) |= TF;
	if (steps == stop_at)
		GREG(context, EFL) &= ~TF;
}

static void enter(uint64_t what, int stepping)
{
	op = (struct op){ .what = what };
	steps = behind = breaks = 0;
	last = 0;
	set_tf(stepping);
	CHECK(own_enter(&op, tcs) == (uint64_t)own_aep);
	set_tf(0);
}

static void debugged(void)
{
	int all;

	catch_signal(SIGTRAP, on_trap, 0);
	stop_at = 0;
	enter(DO_NOTHING, 1);
	all = steps;
	CHECK(all > 40 && behind == 1 && first > e.base);
	CHECK((first & 0xfff) == (vdso_ask(host_tcs(&e, 1), DO_ENTRY, 0, 0, 0) & 0xfff));
	enter(DO_NOTHING, 1);
	CHECK(steps == all && behind == 1);
	/* Some steps, and then on at full speed. */
	stop_at = 5;
	enter(DO_NOTHING, 1);
	CHECK(steps == 5 && behind == 0);
	stop_at = 0;
	enter(DO_BREAK, 0);
	CHECK(breaks == 1 && steps == 0);
	/* Opted in, the enclave may set TF itself. */
	stop_at = 2;
	enter(DO_SET_TF, 0);
	CHECK(steps == 2 && op.result == TF);
	/* Another thread of the same enclave is none of the debugger's. */
	tcs = host_tcs(&e, 1);
	enter(DO_NOTHING, 1);
	CHECK(steps == 0 && behind == 1);
}

static void child(int in, int out)
{
	char told;

	e = host_load("debug");
	tcs = host_tcs(&e, 0);
	CHECK(write(out, &tcs, sizeof(tcs)) == sizeof(tcs));
	CHECK(read(in, &told, 1) == 1);
	debugged();
	_exit(0);
}

int main(void)
{
	uint64_t flags_at;
	int there[2], back[2], status;
	pid_t pid;

	CHECK(pipe(there) == 0 && pipe(back) == 0);
	pid = fork();
	if (pid == 0)
		child(there[0], back[1]);
	CHECK(read(back[0], &flags_at, sizeof(flags_at)) == sizeof(flags_at));
	flags_at += TCS_FLAGS;
	CHECK(ptrace(PTRACE_ATTACH, pid, NULL, NULL) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	CHECK(ptrace(PTRACE_PEEKDATA, pid, (void *)flags_at, NULL) == 0);
	CHECK(ptrace(PTRACE_POKEDATA, pid, (void *)flags_at, (void *)DBGOPTIN) == 0);
	CHECK(ptrace(PTRACE_PEEKDATA, pid, (void *)flags_at, NULL) == DBGOPTIN);
	CHECK(ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0);
	CHECK(write(there[1], "", 1) == 1);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	return 0;
}
