/* Paths that lead nowhere, while signals come: errors, registers and links are as ever. */
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>

#define ROUNDS 1000

static volatile sig_atomic_t ticks;

static void tick(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	ticks++;
}

/* Registers that a system call leaves alone. */
static long raw_open(const char *path)
{
	long ret, rdi = (long)path, rsi = O_RDONLY, rdx = 0x1234;
	register long r10 __asm__("r10") = 0x5678;
	register long r8 __asm__("r8") = 0x9abc;

	__asm__ volatile("syscall"
			 : "=a"(ret), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r10), "+r"(r8)
			 : "0"(SYS_open)
			 : "rcx", "r11", "memory");
	CHECK(rdi == (long)path && rsi == O_RDONLY && rdx == 0x1234);
	CHECK(r10 == 0x5678 && r8 == 0x9abc);
	return ret;
}

static void one_round(int folder)
{
	struct stat about;
	char link[16];

	CHECK_FAILS(open("no-such-file", O_RDONLY), ENOENT);
	CHECK_FAILS(openat(folder, "no-such-file", O_RDONLY), ENOENT);
	CHECK_FAILS(openat(folder, "dangling", O_RDONLY), ENOENT);
	CHECK_FAILS(fstatat(folder, "dangling", &about, 0), ENOENT);
	CHECK_FAILS(fstatat(folder, "dangling/", &about, 0), ENOENT);
	CHECK_FAILS(fstatat(folder, "dangling/sgx_enclave", &about, 0), ENOENT);
	CHECK(fstatat(folder, "dangling", &about, AT_SYMLINK_NOFOLLOW) == 0);
	CHECK(S_ISLNK(about.st_mode));
	CHECK(readlinkat(folder, "dangling", link, sizeof(link)) == 8);
	CHECK_FAILS(openat(folder, "round", O_RDONLY), ELOOP);
	CHECK_FAILS(openat(folder, "round/sgx_enclave", O_RDONLY), ELOOP);
	CHECK_FAILS(faccessat(folder, "enclave", F_OK, 0), ENOENT);
	CHECK_FAILS(faccessat(folder, "file/cpuinfo", F_OK, 0), ENOTDIR);
	CHECK(faccessat(folder, "file", F_OK, 0) == 0);
	CHECK(raw_open("/no/such/file") == -ENOENT);
}

/* A file of the program's own with a name of ours is its own. */
static void own_names(int folder)
{
	static const char *const names[] = {"cpuinfo", "misc", "sgx_enclave", "7"};
	struct stat about;
	char byte;

	for (unsigned n = 0; n < 4; n++) {
		int fd = openat(folder, names[n], O_RDWR | O_CREAT | O_EXCL, 0600);

		CHECK(fd >= 0 && write(fd, "x", 1) == 1);
		CHECK(fstat(fd, &about) == 0 && S_ISREG(about.st_mode));
		close(fd);
		fd = openat(folder, names[n], O_RDONLY);
		CHECK(read(fd, &byte, 1) == 1 && byte == 'x');
		close(fd);
		CHECK(fstatat(folder, names[n], &about, 0) == 0 && about.st_size == 1);
		CHECK(unlinkat(folder, names[n], 0) == 0);
		CHECK_FAILS(fstatat(folder, names[n], &about, 0), ENOENT);
	}
}

int main(void)
{
	struct itimerval often = {{0, 100}, {0, 100}}, never = {0};
	char path[64];
	int folder;

	snprintf(path, sizeof(path), "/tmp/conformance-lost-%d", (int)getpid());
	CHECK(mkdir(path, 0700) == 0);
	folder = open(path, O_RDONLY | O_DIRECTORY);
	CHECK(folder >= 0);
	CHECK(symlinkat("/nowhere", folder, "dangling") == 0);
	CHECK(symlinkat("round", folder, "round") == 0);
	CHECK(close(openat(folder, "file", O_CREAT | O_WRONLY, 0600)) == 0);
	own_names(folder);
	catch_signal(SIGALRM, tick, SA_RESTART);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	for (int n = 0; n < ROUNDS || ticks < 20; n++)
		one_round(folder);
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(unlinkat(folder, "dangling", 0) == 0 && unlinkat(folder, "round", 0) == 0);
	CHECK(unlinkat(folder, "file", 0) == 0);
	CHECK(rmdir(path) == 0);
	return 0;
}
