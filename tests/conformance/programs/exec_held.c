/* A debugger holds a thread at its end while another thread of the process is in execve:
 * programs that others start meanwhile begin and end.
 */
#include "check.h"

#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/ptrace.h>

struct shared {
	volatile pid_t held;
	volatile int go;
};

static struct shared *shared;
static char program[PATH_MAX];

static void *wait_for_end(void *unused)
{
	shared->held = (pid_t)syscall(SYS_gettid);
	for (;;)
		pause();
	return unused;
}

static void start(const char *word)
{
	char *argv[] = { program, (char *)word, NULL };

	execv(program, argv);
	_exit(1);
}

static void with_thread(void)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, wait_for_end, NULL) == 0);
	while (!shared->go)
		usleep(1000);
	start("held");
}

static void other(void)
{
	start("other");
}

int main(int argc, char **argv)
{
	int status;
	pid_t pid;

	if (argc == 2)
		return argv[1][0] == 'h' ? 7 : 0;
	CHECK(readlink("/proc/self/exe", program, sizeof(program) - 1) > 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		with_thread();
	while (!shared->held)
		usleep(1000);
	CHECK(ptrace(PTRACE_SEIZE, shared->held, 0, PTRACE_O_TRACEEXIT) == 0);
	shared->go = 1;
	CHECK(waitpid(shared->held, &status, __WALL) == shared->held);
	CHECK(status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8));
	for (int i = 0; i < 3; i++)
		CHECK(status_of(other) == 0);
	CHECK(ptrace(PTRACE_CONT, shared->held, 0, 0) == 0);
	CHECK(waitpid(shared->held, &status, __WALL) == shared->held);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	return 0;
}
