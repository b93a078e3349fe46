/* A process is killed, or calls execve, while its threads are inside an enclave that its
 * parent has too: their processors left by an asynchronous exit.  The TCS is free, one of
 * its frames is in use.
 *
 * link: all
 */
#include "host.h"

#include <sys/wait.h>

static struct enclave e;
static volatile uint64_t *shared; /* says that the child is inside */

static void *count(void *argument)
{
	struct inside *in = argument;
	struct sgx_enclave_run run;

	vdso_call(in->tcs, EENTER, &in->op, &run);
	return NULL;
}

/* A child with two threads inside, on the TCS first and the one after it. */
static pid_t child_inside(unsigned int first, void (*then)(void))
{
	static struct inside in[2];
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid > 0) {
		while (!*shared)
			usleep(1000);
		*shared = 0;
		return pid;
	}
	for (unsigned int i = 0; i < 2; i++) {
		in[i] = (struct inside){ .tcs = host_tcs(&e, first + i),
					 .op = { .what = DO_COUNT } };
		CHECK(pthread_create(&in[i].thread, NULL, count, &in[i]) == 0);
		while (!in[i].op.started)
			usleep(100);
	}
	then();
	_exit(1);
}

static void wait_for_the_end(void)
{
	*shared = 1;
	for (;;)
		pause();
}

static void go_on_as_another(void)
{
	*shared = 1;
	execl("/proc/self/exe", "another", NULL);
}

/* Entered at CSSA 1: EENTER would be refused while somebody is inside. */
static void is_free_again(unsigned int number)
{
	struct sgx_enclave_run run;
	struct op op = { .what = DO_NOTHING };

	for (int tries = 0; tries < 60000; tries++) {
		CHECK(vdso_call(host_tcs(&e, number), EENTER, &op, &run) == 0);
		if (run.function == EEXIT)
			break;
		usleep(1000);
	}
	CHECK(run.function == EEXIT);
	/* Two frames are left of three, and the third entry more is refused. */
	op.what = DO_DIVIDE;
	for (int i = 0; i < FRAMES - 1; i++) {
		CHECK(vdso_call(host_tcs(&e, number), EENTER, &op, &run) == 0);
		CHECK(run.function == ERESUME && run.exception_vector == 0);
	}
	CHECK(vdso_call(host_tcs(&e, number), EENTER, &op, &run) == 0);
	CHECK(run.function == EENTER && run.exception_vector == 13);
}

int main(int argc, char **argv)
{
	int status;
	pid_t pid;

	(void)argc;
	if (strcmp(argv[0], "another") == 0)
		return 7;
	e = host_load("3");
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	/* One of them was in use before the fork. */
	vdso_ask(host_tcs(&e, 0), DO_NOTHING, 0, 0, 0);
	pid = child_inside(0, wait_for_the_end);
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
	is_free_again(0);
	is_free_again(1);
	pid = child_inside(2, go_on_as_another);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
	is_free_again(2);
	is_free_again(3);
	return 0;
}
