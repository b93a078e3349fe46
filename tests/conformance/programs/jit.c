/* Code that a program writes for itself: RWX, W then X, rewritten in place. */
#include "check.h"
#include <sys/mman.h>

typedef int function(void);

static void emit(unsigned char *at, int value)
{
	at[0] = 0xb8;
	memcpy(at + 1, &value, 4);
	at[5] = 0xc3;
}

int main(void)
{
	int rw = PROT_READ | PROT_WRITE;
	unsigned char *code = mmap(NULL, 8192, rw | PROT_EXEC,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	function *run = (function *)(void *)code;

	CHECK(code != MAP_FAILED);
	for (int i = 0; i < 1000; i++) {
		emit(code, i);
		CHECK(run() == i);
	}
	for (int i = 0; i < 100; i++) {
		CHECK(mprotect(code, 8192, rw) == 0);
		emit(code, -i);
		CHECK(mprotect(code, 8192, PROT_READ | PROT_EXEC) == 0);
		CHECK(run() == -i);
	}
	CHECK(munmap(code, 8192) == 0);
	return 0;
}
