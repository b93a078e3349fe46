/* A descriptor of the device is a way to its ioctls and mappings, and to nothing else: what
 * reads and writes files finds no byte of the enclave and changes none.
 *
 * link: all
 */
#include "host.h"

#include <linux/falloc.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define WORD 0x1122334455667788ull

static uint8_t buffer[2 * PAGE];

static void reads_nothing(int fd, int pipe_end)
{
	struct iovec piece = { buffer, sizeof(buffer) };

	CHECK(read(fd, buffer, sizeof(buffer)) <= 0);
	CHECK(pread(fd, buffer, sizeof(buffer), PAGE) <= 0);
	CHECK(readv(fd, &piece, 1) <= 0);
	CHECK(preadv(fd, &piece, 1, PAGE) <= 0);
	CHECK(sendfile(pipe_end, fd, NULL, PAGE) <= 0);
	CHECK(splice(fd, NULL, pipe_end, NULL, PAGE, SPLICE_F_NONBLOCK) <= 0);
	for (size_t i = 0; i < sizeof(buffer); i++)
		CHECK(buffer[i] == 0);
}

static void writes_nothing(int fd)
{
	static const uint8_t junk[PAGE] = { 0xa5 };
	struct iovec piece = { (void *)junk, sizeof(junk) };

	CHECK(write(fd, junk, sizeof(junk)) == -1);
	CHECK(pwrite(fd, junk, sizeof(junk), PAGE) == -1);
	CHECK(writev(fd, &piece, 1) == -1);
	CHECK(pwritev(fd, &piece, 1, PAGE) == -1);
	CHECK(ftruncate(fd, PAGE) == -1);
	CHECK(fallocate(fd, 0, 0, PAGE) == -1);
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 30);
}

static void looks(int fd)
{
	struct pollfd polled = { .fd = fd, .events = POLLIN | POLLOUT };
	struct stat status;

	CHECK(fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_size == 0);
	CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
	CHECK(poll(&polled, 1, 0) == 1 && polled.revents == (POLLIN | POLLOUT));
}

/* A program that somebody else executes has it as well. */
static void passed_on(int fd)
{
	char number[16], *const again[] = { "device_file", number, NULL };
	int status;
	pid_t child;

	CHECK(fcntl(fd, F_SETFD, 0) == 0);
	snprintf(number, sizeof(number), "%d", fd);
	child = fork();
	if (child == 0) {
		execv("/proc/self/exe", again);
		_exit(127);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* Every descriptor is in use: to map the device takes none. */
static void without_descriptors(const struct enclave *e)
{
	struct rlimit limit, none;
	void *at;

	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	none = limit;
	none.rlim_cur = 0;
	CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
	CHECK_FAILS(dup(0), EMFILE);
	at = mmap(NULL, PAGE, PROT_NONE, MAP_SHARED, e->fd, 0);
	CHECK(at != MAP_FAILED || errno == EACCES);
	CHECK(mmap((void *)(e->base + SPARE), PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e->fd, 0) == (void *)(e->base + SPARE));
	CHECK_FAILS(dup(0), EMFILE);
	CHECK(getrlimit(RLIMIT_NOFILE, &none) == 0 && none.rlim_cur == 0);
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK(vdso_ask(host_tcs(e, 0), DO_ENCLU, e->base + SPARE, EACCEPT,
		       SECINFO_REG | SECINFO_R | SECINFO_W | SECINFO_PENDING) == 0);
}

int main(int argc, char **argv)
{
	int fresh, pipes[2], copy;
	struct enclave e;
	uint64_t mine;

	CHECK(pipe(pipes) == 0);
	if (argc > 1) {
		looks(atoi(argv[1]));
		reads_nothing(atoi(argv[1]), pipes[1]);
		return 0;
	}
	fresh = open("/dev/sgx_enclave", O_RDWR);
	CHECK(fresh >= 0);
	e = host_load("3");
	looks(fresh);
	reads_nothing(fresh, pipes[1]);
	writes_nothing(fresh);
	mine = vdso_ask(host_tcs(&e, 0), DO_AREA, 0, 0, 0) + 0x1000;
	vdso_ask(host_tcs(&e, 0), DO_STORE, mine, WORD, 0);
	copy = dup(e.fd);
	CHECK(copy >= 0);
	for (int i = 0; i < 2; i++) {
		int fd = i ? copy : e.fd;

		looks(fd);
		reads_nothing(fd, pipes[1]);
		writes_nothing(fd);
	}
	CHECK(close(e.fd) == 0);
	e.fd = copy;
	passed_on(copy);
	without_descriptors(&e);
	CHECK(vdso_ask(host_tcs(&e, 1), DO_LOAD, mine, 0, 0) == WORD);
	return 0;
}
