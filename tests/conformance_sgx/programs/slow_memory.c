/* A system call, or an ENCLU, waits for memory that somebody supplies when it likes: other
 * processes and the enclaves they have do not wait for that; a kill ends the wait.
 */
#include "host.h"

#include <linux/userfaultfd.h>
#include <poll.h>
#include <time.h>

#define WORD "slow"

/* A process whose thread does something with one page that is not there yet. */
struct slow {
	pid_t pid;
	int tell, hear; /* ends of pipes to it and from it */
};

static struct enclave e;
static int own_enclave;
static uint8_t *page; /* of a slow process */
static int faults;
static char program[PATH_MAX];

static int faults_open(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0)
		CHECK(ioctl(fd, UFFDIO_API, &api) == 0);
	return fd;
}

static void page_make(void)
{
	struct uffdio_register range = { .range = { .len = PAGE },
					 .mode = UFFDIO_REGISTER_MODE_MISSING };

	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	CHECK(page != MAP_FAILED);
	faults = faults_open();
	CHECK(faults >= 0);
	range.range.start = (uint64_t)page;
	CHECK(ioctl(faults, UFFDIO_REGISTER, &range) == 0);
}

static void page_await(void)
{
	struct pollfd fd = { .fd = faults, .events = POLLIN };
	struct uffd_msg message;

	CHECK(poll(&fd, 1, 30000) == 1);
	CHECK(read(faults, &message, sizeof(message)) == sizeof(message));
	CHECK(message.event == UFFD_EVENT_PAGEFAULT);
}

static void page_supply(void)
{
	static uint8_t content[PAGE] __attribute__((aligned(PAGE))) = WORD;
	struct uffdio_copy copy = { .dst = (uint64_t)page,
				    .src = (uint64_t)content,
				    .len = PAGE };

	CHECK(ioctl(faults, UFFDIO_COPY, &copy) == 0);
}

/* ---- what is done with it ---- */

static int add(void)
{
	struct secinfo secinfo = { .flags = SECINFO_REG | SECINFO_R | SECINFO_W };
	struct sgx_enclave_add_pages add = { .src = (uint64_t)page,
					     .length = PAGE,
					     .secinfo = (uint64_t)&secinfo,
					     .flags = SGX_PAGE_MEASURE };
	int ret = ioctl(own_enclave, SGX_IOC_ENCLAVE_ADD_PAGES, &add);

	CHECK(ret || add.count == PAGE);
	return ret;
}

static void *do_add(void *unused)
{
	CHECK(add() == 0);
	return unused;
}

static void *do_ioctl(void *unused)
{
	CHECK_FAILS(ioctl(own_enclave, SGX_IOC_ENCLAVE_ADD_PAGES, page), EINVAL);
	return unused;
}

static void *do_enter(void *unused)
{
	struct op op = { .what = DO_NOTHING };
	struct sgx_enclave_run run;

	CHECK(vdso_call((uint64_t)page, EENTER, &op, &run) == 0);
	CHECK(run.function == EENTER);
	return unused;
}

static void *do_execve(void *unused)
{
	char *argv[] = { program, (char *)page, NULL };

	execv(program, argv);
	CHECK(!"execve");
	return unused;
}

static void *(*const all[])(void *) = { do_add, do_ioctl, do_enter, do_execve };

/* ---- the process that does it ---- */

static void be_slow(void *(*body)(void *), int tell, int hear)
{
	struct secs secs = { .ssaframesize = 1, .attributes = 4, .xfrm = 3 };
	pthread_t thread;
	char word = 0;

	page_make();
	own_enclave = enclave_create(1 << 20, &secs).fd;
	CHECK(pthread_create(&thread, NULL, body, NULL) == 0);
	page_await();
	if (body == do_add)
		CHECK_FAILS(add(), EBUSY);
	CHECK(write(tell, &word, 1) == 1);
	CHECK(read(hear, &word, 1) == 1);
	page_supply();
	CHECK(pthread_join(thread, NULL) == 0);
	_exit(0);
}

static struct slow slow_start(void *(*body)(void *))
{
	struct slow slow;
	int to[2], from[2];
	char word;

	CHECK(pipe(to) == 0 && pipe(from) == 0);
	slow.pid = fork();
	CHECK(slow.pid >= 0);
	if (slow.pid == 0)
		be_slow(body, from[1], to[0]);
	close(to[0]);
	close(from[1]);
	slow.tell = to[1];
	slow.hear = from[0];
	CHECK(read(slow.hear, &word, 1) == 1);
	return slow;
}

static int slow_end(struct slow slow)
{
	int status;

	CHECK(waitpid(slow.pid, &status, 0) == slow.pid);
	close(slow.tell);
	close(slow.hear);
	return status;
}

/* ---- the others ---- */

static void use(void)
{
	static unsigned int used;
	uint64_t at = e.base + SPARE + used++ * PAGE;
	struct secs secs = { .ssaframesize = 1, .attributes = 4, .xfrm = 3 };
	char *argv[] = { program, WORD, NULL };
	int status;
	pid_t pid;

	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENCLU, at, EACCEPT,
		       SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING) == 0);
	vdso_ask(host_tcs(&e, 1), DO_WRITE, at, 0x77, 0);
	close(enclave_create(1 << 20, &secs).fd);
	pid = fork();
	if (pid == 0) {
		execv(program, argv);
		_exit(1);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv)
{
	struct slow slow;

	if (argc == 2)
		return strcmp(argv[1], WORD) != 0;
	close(faults = faults_open());
	if (faults < 0)
		return 0; /* not for this user */
	CHECK(readlink("/proc/self/exe", program, sizeof(program) - 1) > 0);
	e = host_load("3");
	CHECK(mmap((void *)(e.base + SPARE), 16 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) != MAP_FAILED);
	for (unsigned int i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		slow = slow_start(all[i]);
		use();
		CHECK(write(slow.tell, "", 1) == 1);
		CHECK(slow_end(slow) == 0);
		slow = slow_start(all[i]);
		CHECK(kill(slow.pid, SIGKILL) == 0);
		use();
		CHECK(slow_end(slow) == SIGKILL);
	}
	return 0;
}
