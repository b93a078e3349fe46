/* execve while another thread is inside: the new program knows nothing of it. */
#include "host.h"

int main(int argc, char **argv)
{
	struct enclave e = host_load("3");
	struct inside in = { .tcs = host_tcs(&e, 0), .op = { .what = DO_COUNT } };
	char *again[] = { argv[0], "again", NULL };

	vdso_ask(host_tcs(&e, 1), DO_NOTHING, 0, 0, 0);
	if (argc > 1)
		return 0;
	inside_start(&in);
	execv("/proc/self/exe", again);
	return 1;
}
