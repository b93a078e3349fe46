/* A second thread writes another SIGSTRUCT over the one that INIT reads: whatever INIT
 * saw, the enclave that runs is the one that was judged.
 *
 * sigstruct_race OTHER-SIG ROUNDS: prints, for each round, what INIT said (0 or the
 * errno) and, where it launched, the MRSIGNER in its report.
 */
#include "host.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct sigstruct listed, other, shared __attribute__((aligned(4096)));
static _Atomic int started;

static void *flip(void *nothing)
{
	for (;;) {
		memcpy(&shared, &other, sizeof(shared));
		started = 1;
		memcpy(&shared, &listed, sizeof(shared));
	}
	return nothing;
}

/* In place of libc's: INIT gets the struct that the other thread writes. */
int ioctl(int fd, unsigned long request, ...)
{
	struct sgx_enclave_init init = { .sigstruct = (uint64_t)&shared };
	va_list arguments;
	void *argument;
	pthread_t thread;

	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	if (request != SGX_IOC_ENCLAVE_INIT)
		return syscall(SYS_ioctl, fd, request, argument);
	CHECK(pthread_create(&thread, NULL, flip, NULL) == 0);
	while (!started)
		;
	if (syscall(SYS_ioctl, fd, request, &init) == 0)
		return 0;
	printf("%d\n", errno);
	fflush(stdout);
	_exit(0);
}

static void launch(void)
{
	struct op op = { .what = DO_REPORT };
	struct targetinfo target = { 0 };
	struct enclave e = host_load("3");
	struct report made;

	memcpy(op.data, &target, sizeof(target));
	vdso_do(host_tcs(&e, 0), &op);
	memcpy(&made, op.data, sizeof(made));
	printf("0 ");
	for (int i = 0; i < 32; i++)
		printf("%02x", made.mrsigner[i]);
	printf("\n");
	fflush(stdout);
	_exit(0);
}

int main(int argc, char **argv)
{
	CHECK(argc == 4);
	listed = sigstruct_read(argv[1]);
	other = sigstruct_read(argv[2]);
	memcpy(&shared, &listed, sizeof(shared));
	for (int round = atoi(argv[3]); round > 0; round--) {
		pid_t child = fork();
		int status;

		CHECK(child >= 0);
		if (child == 0)
			launch();
		CHECK(waitpid(child, &status, 0) == child && status == 0);
	}
	return 0;
}
