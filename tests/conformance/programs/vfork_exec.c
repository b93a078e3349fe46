/* vfork: the child borrows the memory, and the parent waits for exec or exit. */
#include "check.h"

int main(int argc, char **argv)
{
	volatile int shared = 0;
	int status;
	pid_t child;

	if (argc > 1)
		return 40 + atoi(argv[1]);
	child = vfork();
	if (child == 0) {
		shared = 5;
		_exit(7);
	}
	CHECK(shared == 5);
	CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
	for (volatile int i = 0; i < 10; i++) {
		child = vfork();
		if (child == 0) {
			execl("/proc/self/exe", "again", "2", (char *)NULL);
			_exit(1);
		}
		CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 42);
	}
	child = vfork();
	if (child == 0) {
		execl("/no/such/file", "x", (char *)NULL);
		shared = errno;
		_exit(3);
	}
	CHECK(shared == ENOENT);
	CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3);
	return 0;
}
