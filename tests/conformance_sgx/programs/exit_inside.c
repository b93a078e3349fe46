/* Threads and processes end while others are inside. */
#include "host.h"

static struct enclave e;

static void *visit(void *argument)
{
	vdso_ask(host_tcs(&e, 1), DO_NOTHING, 0, 0, 0);
	return argument;
}

static void leave_with_one_inside(void)
{
	static struct inside in = { .op = { .what = DO_COUNT } };
	pthread_t thread;

	e = host_load("3");
	in.tcs = host_tcs(&e, 0);
	inside_start(&in);
	CHECK(pthread_create(&thread, NULL, visit, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	vdso_ask(host_tcs(&e, 1), DO_NOTHING, 0, 0, 0);
	exit(7);
}

static void die_with_one_inside(void)
{
	static struct inside in = { .op = { .what = DO_COUNT } };

	e = host_load("3");
	in.tcs = host_tcs(&e, 0);
	inside_start(&in);
	raise(SIGKILL);
}

int main(void)
{
	int status = status_of(leave_with_one_inside);

	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	status = status_of(die_with_one_inside);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	return 0;
}
