/* The enclave's descriptor taken for the file that it really is. */
#include "hostile.h"

#include <linux/falloc.h>
#include <sys/stat.h>

static int again(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags);
}

static void meddle(int fd)
{
	static uint8_t junk[2 * PAGE];
	int other = again(fd, O_RDWR);

	memset(junk, 0xa5, sizeof(junk));
	for (int round = 0; round < 2 && fd >= 0; round++, fd = other) {
		(void)!ftruncate(fd, 0);
		(void)!ftruncate(fd, PAGE);
		(void)!ftruncate(fd, (off_t)1 << 40);
		(void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				 1 << 30);
		for (off_t at = 0; at < ENCLAVE_SIZE + 64 * PAGE; at += sizeof(junk))
			(void)!pwrite(fd, junk, sizeof(junk), at);
		(void)!read(fd, junk, sizeof(junk));
		(void)!fchmod(fd, 0);
		(void)!fcntl(fd, F_SETLEASE, F_RDLCK);
		(void)!fcntl(fd, F_SETLEASE, F_UNLCK);
		(void)!fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK);
	}
	if (other >= 0)
		close(other);
}

/* In a child: whatever it comes to is its own affair. */
static void in_child(void (*what)(void))
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(30);
		what();
		_exit(0);
	}
	CHECK(waitpid(pid, NULL, 0) == pid);
}

static void before_it_is_made(void)
{
	struct sgx_enclave_create create = { .src = 0 };
	int fd = open_enclave();

	meddle(fd);
	ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &create);
}

static void sealed(void)
{
	int fd = open_enclave();

	fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL);
	host_load("3");
}

static void after_it_is_made(void)
{
	struct enclave e = host_load("3");
	struct op op = { .what = DO_NOTHING };
	struct sgx_enclave_run run;

	vdso_do(host_tcs(&e, 0), &op);
	meddle(e.fd);
	vdso_call(host_tcs(&e, 0), EENTER, &op, &run);
	vdso_call(host_tcs(&e, 1), ERESUME, &op, &run);
}

static void dead_but_named(void)
{
	int fd = open_enclave(), path = again(fd, O_PATH), back;
	struct sgx_enclave_create create = { .src = 0 };

	CHECK(path >= 0 && close(fd) == 0);
	usleep(20000);
	back = again(path, O_RDWR);
	ioctl(back, SGX_IOC_ENCLAVE_CREATE, &create);
	mmap(NULL, PAGE, PROT_NONE, MAP_SHARED, back, 0);
	ioctl(path, SGX_IOC_ENCLAVE_CREATE, &create);
}

int main(void)
{
	struct enclave e;
	struct op op = { .what = DO_NOTHING };

	in_child(before_it_is_made);
	in_child(sealed);
	in_child(after_it_is_made);
	in_child(dead_but_named);
	e = host_load("3");
	vdso_do(host_tcs(&e, 0), &op);
	printf("survived\n");
	return 0;
}
