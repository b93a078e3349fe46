/* Exits that lead nowhere: an AEP where nothing is, and EEXIT to such places.  And a thread
 * that is cancelled while it is inside.
 *
 * link: all
 */
#include "host.h"

#include <setjmp.h>

#define NOWHERE 0x2000

static struct enclave e;
static sigjmp_buf after;
static struct {
	int signo, code;
	uint64_t rip, rcx, rax, rbx, address;
} seen;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	seen.signo = signo;
	seen.code = info->si_code;
	seen.address = (uint64_t)info->si_addr;
	seen.rip = (uint64_t)GREG(context, RIP);
	seen.rcx = (uint64_t)GREG(context, RCX);
	seen.rax = (uint64_t)GREG(context, RAX);
	seen.rbx = (uint64_t)GREG(context, RBX);
	siglongjmp(after, 1);
}

static void enter(unsigned int thread, struct op *op, uint64_t aep)
{
	const struct wild regs = { .rax = EENTER, .rbx = host_tcs(&e, thread), .rcx = aep,
				   .rdi = (uint64_t)op };

	memset(&seen, 0, sizeof(seen));
	if (sigsetjmp(after, 1) == 0)
		wild_enclu(&regs);
}

static void aep_nowhere(void)
{
	static struct op op = { .what = DO_DIVIDE };

	enter(1, &op, NOWHERE);
	CHECK(seen.signo == SIGFPE && seen.code == FPE_INTDIV && seen.address == NOWHERE);
	CHECK(seen.rip == NOWHERE && seen.rcx == NOWHERE);
	CHECK(seen.rax == ERESUME && seen.rbx == host_tcs(&e, 1));
}

static void eexit_nowhere(void)
{
	static struct op op = { .what = DO_LEAF };
	const uint64_t to[2] = { EEXIT, NOWHERE }, not_canonical[2] = { EEXIT, 1ul << 63 };

	memcpy(op.data, to, sizeof(to));
	enter(2, &op, (uint64_t)own_aep);
	CHECK(seen.signo == SIGSEGV && seen.code == SEGV_MAPERR && seen.address == NOWHERE);
	CHECK(seen.rip == NOWHERE && seen.rcx == (uint64_t)own_aep);
	memcpy(op.data, not_canonical, sizeof(not_canonical));
	enter(3, &op, (uint64_t)own_aep);
	CHECK(seen.signo == SIGSEGV && seen.code == SI_KERNEL && seen.address == 0);
	CHECK(seen.rip == (uint64_t)own_aep && seen.rax == ERESUME);
}

static void *spins(void *op)
{
	struct sgx_enclave_run run = { .tcs = host_tcs(&e, 4) };

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	vdso_again(EENTER, op, &run);
	return NULL;
}

/* What it had entered is free, with one frame more in use. */
static void cancelled(void)
{
	static struct op op = { .what = DO_SPIN }, next = { .what = DO_NOTHING };
	pthread_t thread;
	void *result;

	CHECK(pthread_create(&thread, NULL, spins, &op) == 0);
	while (!op.started)
		usleep(1000);
	CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0);
	CHECK(result == PTHREAD_CANCELED);
	vdso_do(host_tcs(&e, 4), &next);
}

int main(void)
{
	static uint8_t own[64 * 1024];
	const stack_t stack = { .ss_sp = own, .ss_size = sizeof(own) };

	e = host_load("3");
	CHECK(sigaltstack(&stack, NULL) == 0);
	catch_signal(SIGSEGV, on_fault, SA_ONSTACK);
	catch_signal(SIGFPE, on_fault, SA_ONSTACK);
	aep_nowhere();
	eexit_nowhere();
	cancelled();
	return 0;
}
