/* Touching a file mapping past the end of its file is a SIGBUS of the program's own. */
#include "check.h"
#include <setjmp.h>
#include <sys/mman.h>

static sigjmp_buf back;
static char *volatile map;

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)context;
	CHECK(signo == SIGBUS && info->si_code == BUS_ADRERR);
	CHECK(info->si_addr == map + 4096);
	siglongjmp(back, 1);
}

int main(void)
{
	FILE *file = tmpfile();

	CHECK(file && ftruncate(fileno(file), 4096) == 0);
	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
	CHECK(map != MAP_FAILED);
	catch_signal(SIGBUS, handler, 0);
	map[0] = 1;
	if (sigsetjmp(back, 1) == 0) {
		map[4096] = 1;
		CHECK(!"the access did not fault");
	}
	CHECK(map[0] == 1);
	return 0;
}
