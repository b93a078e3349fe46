/* Writing into a pipe that nobody reads: EPIPE when ignored, death by default. */
#include "check.h"

static int ends[2];

static void writes(void)
{
	signal(SIGPIPE, SIG_DFL);
	CHECK(write(ends[1], "x", 1) == 1);
}

int main(void)
{
	int status;

	CHECK(pipe(ends) == 0 && close(ends[0]) == 0);
	CHECK(signal(SIGPIPE, SIG_IGN) == SIG_DFL);
	CHECK_FAILS(write(ends[1], "x", 1), EPIPE);
	status = status_of(writes);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
	signal(SIGPIPE, SIG_DFL);
	CHECK(system("yes | head -n 1 >/dev/null") == 0);
	return 0;
}
