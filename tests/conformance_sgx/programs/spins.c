/* Threads are inside; with an argument they stay there until somebody ends them. */
#include "host.h"

int main(int argc, char **argv)
{
	struct enclave e = host_load("3");
	struct inside ins[2] = { { .tcs = host_tcs(&e, 0), .op = { .what = DO_COUNT } },
				 { .tcs = host_tcs(&e, 1), .op = { .what = DO_SPIN } } };

	(void)argv;
	inside_start(&ins[0]);
	inside_start(&ins[1]);
	puts("inside");
	fflush(stdout);
	if (argc > 1)
		for (;;)
			pause();
	inside_wait(&ins[0]);
	inside_wait(&ins[1]);
	CHECK(ins[0].op.result > 0 && ins[1].op.result == 1);
	return 0;
}
