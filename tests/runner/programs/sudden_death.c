/* Threads and processes that are killed in whatever they do with the device. */
#include "hostile.h"

#include <signal.h>
#include <sys/prctl.h>

static void busy(void)
{
	for (;;) {
		struct enclave e = host_load("3");
		struct op op = { .what = DO_NOTHING };
		pid_t pid;

		vdso_do(host_tcs(&e, 0), &op);
		pid = fork();
		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
		munmap((void *)e.base, e.size);
		close(e.fd);
	}
}

static void *busy_thread(void *unused)
{
	busy();
	return unused;
}

static void killed_after(useconds_t delay, int threads)
{
	pid_t pid = fork();
	pthread_t thread;

	CHECK(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < threads; i++)
			pthread_create(&thread, NULL, busy_thread, NULL);
		busy();
	}
	usleep(delay);
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
}

int main(int argc, char **argv)
{
	struct enclave e;
	struct op op = { .what = DO_NOTHING };

	seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	for (int i = 0; i < 20; i++)
		killed_after(any() % 30000, i % 3);
	/* It is ours to be looked at no more; we still get our answers. */
	CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
	e = host_load("3");
	vdso_do(host_tcs(&e, 0), &op);
	printf("survived\n");
	return 0;
}
