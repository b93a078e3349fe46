/* System calls that are given enclave memory as a buffer: the kernel reads ones there, and
 * what it writes is lost.  Also while a thread is inside.
 *
 * link: all
 */
#include "host.h"

#include <sys/socket.h>

#define SECRET 0x1122334455667788ull
#define MANY (5 * PAGE)

static struct enclave e;
static uint64_t mine, data;
static int pipes[2], sockets[2], file;
static uint8_t copy[MANY];

static uint64_t inside(uint64_t address)
{
	return vdso_ask(host_tcs(&e, 0), DO_LOAD, address, 0, 0);
}

static int are_ones(const uint8_t *byte, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (byte[i] != 0xff)
			return 0;
	return 1;
}

static void reads(uint64_t from, size_t size)
{
	memset(copy, 0, sizeof(copy));
	CHECK(write(pipes[1], (void *)from, size) == (ssize_t)size);
	CHECK(read(pipes[0], copy, sizeof(copy)) == (ssize_t)size && are_ones(copy, size));
	memset(copy, 0, sizeof(copy));
	CHECK(send(sockets[0], (void *)from, size, 0) == (ssize_t)size);
	CHECK(recv(sockets[1], copy, size, MSG_WAITALL) == (ssize_t)size);
	CHECK(are_ones(copy, size));
	memset(copy, 0, sizeof(copy));
	CHECK(pwrite(file, (void *)from, size, 7) == (ssize_t)size);
	CHECK(pread(file, copy, size, 7) == (ssize_t)size && are_ones(copy, size));
}

static void writes(uint64_t to, size_t size)
{
	memset(copy, 0x5a, sizeof(copy));
	CHECK(write(pipes[1], copy, size) == (ssize_t)size);
	CHECK(read(pipes[0], (void *)to, size) == (ssize_t)size);
	CHECK(send(sockets[0], copy, size, 0) == (ssize_t)size);
	CHECK(recv(sockets[1], (void *)to, size, MSG_WAITALL) == (ssize_t)size);
	CHECK(pread(file, (void *)to, size, 7) == (ssize_t)size);
}

/* The registers of a call stay as they were, but for its result. */
static void registers(void)
{
	uint64_t rax = SYS_write, rdi = (uint64_t)pipes[1], rsi = data, rdx = 100;

	__asm__ volatile("syscall" : "+a"(rax), "+D"(rdi), "+S"(rsi), "+d"(rdx)
				   : : "rcx", "r11", "memory");
	CHECK(rax == 100 && rdi == (uint64_t)pipes[1] && rsi == data && rdx == 100);
	CHECK(read(pipes[0], copy, sizeof(copy)) == 100);
}

static volatile int rings, ends_it;

static void on_alarm(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	(void)context;
	/* A call that will be made again comes from where it came from; this is before it. */
	if (GREG(context, RSI) != (greg_t)data)
		return;
	if (++rings == 2 && ends_it)
		CHECK(write(pipes[1], "x", 1) == 1);
}

static void interrupted(int flags)
{
	struct itimerval soon = { .it_value.tv_usec = 20000, .it_interval.tv_usec = 20000 };
	struct itimerval never = { .it_value.tv_usec = 0 };

	rings = 0;
	ends_it = flags & SA_RESTART;
	catch_signal(SIGALRM, on_alarm, flags);
	CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
	if (flags & SA_RESTART)
		CHECK(read(pipes[0], (void *)data, 8) == 1);
	else
		CHECK_FAILS(read(pipes[0], (void *)data, 8), EINTR);
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(rings > 0);
}

static void all(void)
{
	reads(data, 1);
	reads(data + 5, MANY - 5);
	writes(data, MANY);
	writes(mine + 3, 8);
	reads(host_tcs(&e, 3), 64);
	registers();
}

int main(void)
{
	struct inside in = { .op = { .what = DO_SPIN } };

	e = host_load("3");
	file = memfd_create("file", MFD_CLOEXEC);
	CHECK(file >= 0 && ftruncate(file, 2 * MANY) == 0);
	CHECK(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
	/* Nobody was ever inside. */
	reads(e.base, 100);
	reads(host_tcs(&e, THREADS), 100);
	/* Areas of other threads lie behind the first one's. */
	mine = vdso_ask(host_tcs(&e, 0), DO_AREA, 0, 0, 0) + AREA + 0x1000;
	data = mine + PAGE;
	vdso_ask(host_tcs(&e, 0), DO_STORE, mine, SECRET, 0);
	all();
	CHECK(inside(mine) == SECRET && inside(data) == 0);
	all();
	interrupted(SA_RESTART);
	interrupted(0);
	in.tcs = host_tcs(&e, 5);
	inside_start(&in);
	all();
	inside_wait(&in);
	CHECK(in.op.result == 1);
	CHECK(inside(mine) == SECRET && inside(data) == 0);
	/* What a mapping refuses, it refuses the kernel too. */
	CHECK(mprotect((void *)data, PAGE, PROT_NONE) == 0);
	CHECK_FAILS(write(pipes[1], (void *)data, 1), EFAULT);
	CHECK(mprotect((void *)data, PAGE, PROT_READ) == 0);
	reads(data, PAGE);
	CHECK(write(pipes[1], "x", 1) == 1);
	CHECK_FAILS(read(pipes[0], (void *)data, 1), EFAULT);
	CHECK(mprotect((void *)data, PAGE, PROT_READ | PROT_WRITE) == 0);
	writes(data, PAGE);
	CHECK(inside(data) == 0);
	return 0;
}
