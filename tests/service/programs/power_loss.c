/* SPDX-License-Identifier: Apache-2.0 */
/* The platform loses its power, twice, while threads are inside and outside. */
#include "host.h"

#define SPINNERS 2

struct spinner {
	pthread_t thread;
	uint64_t tcs;
	struct op op;
	struct sgx_enclave_run run;
	int ret;
};

static volatile sig_atomic_t signals;

static void on_segv(int sig, siginfo_t *info, void *context)
{
	(void)context;
	CHECK(sig == SIGSEGV && info->si_code == SEGV_ACCERR);
	signals++;
	GREG(context, RIP) += 3; /* over the ENCLU */
}

static void *spin(void *given)
{
	struct spinner *s = given;

	s->ret = vdso_call(s->tcs, EENTER, &s->op, &s->run);
	return NULL;
}

static void tell(const char *word)
{
	char line[16];

	puts(word);
	fflush(stdout);
	CHECK(fgets(line, sizeof(line), stdin));
}

static void check_lost(int ret, const struct sgx_enclave_run *run, uint32_t leaf)
{
	CHECK(ret == 0);
	CHECK(run->function == leaf);
	CHECK(run->exception_vector == PF);
	CHECK(run->exception_error_code & PF_SGX);
}

static void one_life(void)
{
	struct enclave e = host_load("3");
	struct spinner spinners[SPINNERS] = {0};
	struct sgx_enclave_run run = {0};
	struct op op = {.what = DO_NOTHING};
	struct wild enter = {.rax = EENTER, .rbx = host_tcs(&e, 3), .rcx = (uint64_t)own_aep};
	unsigned char byte;

	for (int i = 0; i < SPINNERS; i++) {
		spinners[i].tcs = host_tcs(&e, (unsigned int)i);
		spinners[i].op.what = i ? DO_COUNT : DO_SPIN;
		CHECK(!pthread_create(&spinners[i].thread, NULL, spin, &spinners[i]));
		while (!spinners[i].op.started)
			usleep(1000);
	}
	vdso_do(host_tcs(&e, 2), &op);
	tell("inside");
	for (int i = 0; i < SPINNERS; i++) {
		CHECK(!pthread_join(spinners[i].thread, NULL));
		check_lost(spinners[i].ret, &spinners[i].run, ERESUME);
	}
	run.tcs = host_tcs(&e, 2);
	check_lost(vdso_call(host_tcs(&e, 2), EENTER, &op, &run), &run, EENTER);
	signals = 0;
	wild_enclu(&enter);
	CHECK(signals == 1);
	byte = *(volatile unsigned char *)e.base;
	CHECK(byte == 0xff);
	CHECK_FAILS(ioctl(e.fd, _IOW(0xa4, 2, uint64_t), &byte), EIO);
	tell("lost");
	CHECK(!munmap((void *)e.base, e.size));
	CHECK(!close(e.fd));
}

int main(void)
{
	struct sigaction act = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};

	CHECK(!sigaction(SIGSEGV, &act, NULL));
	one_life();
	one_life();
	tell("done");
	return 0;
}
