/* An execve waits for an argument whose memory somebody supplies when it likes: programs
 * that others start meanwhile begin and end, and a kill ends the wait.
 */
#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define PAGE 4096

static char program[PATH_MAX];
static char *page;
static int faults, tell[2], hear[2];

static int faults_open(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0)
		CHECK(ioctl(fd, UFFDIO_API, &api) == 0);
	return fd;
}

static void *supply(void *unused)
{
	static char content[PAGE] __attribute__((aligned(PAGE))) = "slow";
	struct uffdio_copy copy = { .dst = (uint64_t)page,
				    .src = (uint64_t)content,
				    .len = PAGE };
	struct pollfd fd = { .fd = faults, .events = POLLIN };
	char word = 0;

	CHECK(poll(&fd, 1, 30000) == 1);
	CHECK(write(tell[1], &word, 1) == 1);
	CHECK(read(hear[0], &word, 1) == 1);
	CHECK(ioctl(faults, UFFDIO_COPY, &copy) == 0);
	for (;;)
		pause();
	return unused;
}

static void be_slow(void)
{
	struct uffdio_register range = { .range = { .len = PAGE },
					 .mode = UFFDIO_REGISTER_MODE_MISSING };
	char *argv[] = { program, NULL, NULL };
	pthread_t thread;

	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	CHECK(page != MAP_FAILED);
	faults = faults_open();
	range.range.start = (uint64_t)page;
	CHECK(ioctl(faults, UFFDIO_REGISTER, &range) == 0);
	CHECK(pthread_create(&thread, NULL, supply, NULL) == 0);
	argv[1] = page;
	execv(program, argv);
	_exit(1);
}

static pid_t slow_start(void)
{
	pid_t pid = fork();
	char word;

	CHECK(pid >= 0);
	if (pid == 0)
		be_slow();
	CHECK(read(tell[0], &word, 1) == 1);
	return pid;
}

static void other(void)
{
	char *argv[] = { program, "other", NULL };

	execv(program, argv);
	_exit(1);
}

int main(int argc, char **argv)
{
	int status;
	pid_t pid;

	if (argc == 2)
		return argv[1][0] == 's' ? 7 : 0;
	faults = faults_open();
	if (faults < 0)
		return 0; /* not for this user */
	close(faults);
	CHECK(readlink("/proc/self/exe", program, sizeof(program) - 1) > 0);
	CHECK(pipe(tell) == 0 && pipe(hear) == 0);
	pid = slow_start();
	for (int i = 0; i < 3; i++)
		CHECK(status_of(other) == 0);
	CHECK(write(hear[1], "", 1) == 1);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	pid = slow_start();
	CHECK(status_of(other) == 0);
	CHECK(kill(pid, SIGKILL) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && WTERMSIG(status) == SIGKILL);
	CHECK(status_of(other) == 0);
	return 0;
}
