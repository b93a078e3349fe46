/* A crowd of processes builds and uses an enclave each, at once, and ends in all the ways
 * there are; nothing of it is left.  More at once, and more often: crowd PROCESSES ROUNDS.
 */
#include "host.h"

#define THREADS_EACH 3

static int gate[2];
static struct enclave e;

static void *use(void *number)
{
	uint64_t tcs = host_tcs(&e, 1 + (unsigned int)(uint64_t)number);
	uint64_t at = e.base + SPARE + (uint64_t)number * PAGE;

	CHECK(vdso_ask(tcs, DO_ENCLU, at, EACCEPT,
		       SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING) == 0);
	for (int i = 0; i < 20; i++)
		vdso_ask(tcs, DO_WRITE, at, 0x10 + (uint64_t)i, 0);
	CHECK(vdso_ask(tcs, DO_READ, at, 0, 0) == 0x23);
	return NULL;
}

static void end(int number)
{
	struct inside in = { .tcs = host_tcs(&e, 0), .op = { .what = DO_COUNT } };
	char *argv[] = { "true", NULL };

	switch (number % 4) {
	case 0:
		_exit(0);
	case 1:
		inside_start(&in);
		kill(getpid(), SIGKILL);
		break;
	case 2:
		inside_start(&in);
		execvp(argv[0], argv);
		break;
	default:
		inside_start(&in);
		syscall(SYS_exit_group, 0);
	}
	_exit(1);
}

static void member(int number)
{
	pthread_t threads[THREADS_EACH];
	char word;

	close(gate[1]);
	CHECK(read(gate[0], &word, 1) == 0); /* all at once */
	e = host_load("3");
	CHECK(mmap((void *)(e.base + SPARE), 4 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) != MAP_FAILED);
	for (uint64_t i = 0; i < THREADS_EACH; i++)
		CHECK(!pthread_create(&threads[i], NULL, use, (void *)i));
	for (int i = 0; i < THREADS_EACH; i++)
		CHECK(!pthread_join(threads[i], NULL));
	end(number);
}

static void crowd(int processes)
{
	int status;

	CHECK(pipe(gate) == 0);
	for (int i = 0; i < processes; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0)
			member(i);
	}
	close(gate[0]);
	close(gate[1]);
	while (processes--) {
		CHECK(wait(&status) > 0);
		CHECK(status == 0 || status == SIGKILL);
	}
}

int main(int argc, char **argv)
{
	int processes = argc > 1 ? atoi(argv[1]) : 12;
	int rounds = argc > 2 ? atoi(argv[2]) : 1;
	char word;

	while (rounds--) {
		crowd(processes);
		if (argc <= 2)
			continue;
		/* Whoever counts what is left may do so now. */
		CHECK(write(1, "\n", 1) == 1);
		CHECK(read(0, &word, 1) == 1);
	}
	return 0;
}
