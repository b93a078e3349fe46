/* File mappings, shared and private, between processes; mprotect, mremap, errors. */
#include "check.h"
#include <sys/mman.h>

#define SIZE (64 * 4096)
static int file;

static void *map(int prot, int flags)
{
	void *at = mmap(NULL, SIZE, prot, flags, file, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

int main(void)
{
	int rw = PROT_READ | PROT_WRITE, status;
	char *shared, *copy, *moved, byte;
	pid_t child;

	file = fileno(tmpfile());
	CHECK(ftruncate(file, SIZE) == 0);
	shared = map(rw, MAP_SHARED);
	copy = map(rw, MAP_PRIVATE);
	copy[5] = 'c';
	child = fork();
	if (child == 0) {
		shared[5] = 's';
		copy[6] = 'd';
		_exit(msync(shared, SIZE, MS_SYNC));
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(shared[5] == 's' && copy[5] == 'c' && copy[6] == 0);
	CHECK(pread(file, &byte, 1, 5) == 1 && byte == 's');
	moved = mremap(copy, SIZE, 2 * SIZE, MREMAP_MAYMOVE);
	CHECK(moved != MAP_FAILED && moved[5] == 'c');
	CHECK(mprotect(moved, 4096, PROT_READ) == 0 && moved[5] == 'c');
	CHECK(madvise(shared, SIZE, MADV_DONTNEED) == 0 && shared[5] == 's');
	CHECK(munmap(moved + 4096, 4096) == 0 && munmap(moved, 2 * SIZE) == 0);

	CHECK(mmap(NULL, 0, rw, MAP_SHARED, file, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, 1, rw, MAP_SHARED, 987, 0) == MAP_FAILED && errno == EBADF);
	CHECK(mmap(NULL, 1, rw, MAP_SHARED, file, 1) == MAP_FAILED && errno == EINVAL);
	CHECK_FAILS(syscall(SYS_mprotect, 4097, 4096, rw), EINVAL);
	CHECK_FAILS(syscall(SYS_mprotect, 4096, 4096, rw), ENOMEM);
	CHECK_FAILS(munmap((void *)1, 4096), EINVAL);
	return 0;
}
