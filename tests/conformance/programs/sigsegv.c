/* SIGSEGV tells reads from writes, mapped from unmapped, and #GP from #PF. */
#include "check.h"
#include <sys/mman.h>

static char *page;
static volatile int code, writes, trap;
static void *volatile address;

static void handler(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGSEGV);
	code = info->si_code;
	address = info->si_addr;
	trap = GREG(context, TRAPNO);
	writes = (GREG(context, ERR) >> 1) & 1;
	if (code == SI_KERNEL) {
		GREG(context, RAX) = (greg_t)page;
	} else if (code == SEGV_MAPERR) {
		GREG(context, RAX) = (greg_t)page;
	} else {
		CHECK(GREG(context, CR2) == (greg_t)address);
		CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
	}
}

static void load(unsigned long from)
{
	__asm__ volatile("movb (%%rax), %%cl" : "+a"(from) : : "rcx", "memory");
}

int main(void)
{
	page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	catch_signal(SIGSEGV, handler, 0);

	load((unsigned long)page + 5);
	CHECK(code == SEGV_ACCERR && address == page + 5 && !writes && trap == 14);
	CHECK(mprotect(page, 4096, PROT_READ) == 0);
	*(volatile char *)(page + 9) = 1;
	CHECK(code == SEGV_ACCERR && address == page + 9 && writes && page[9] == 1);
	load(16);
	CHECK(code == SEGV_MAPERR && address == (void *)16);
	load(0x8000000000000000ul);
	CHECK(code == SI_KERNEL && address == NULL && trap == 13);
	return 0;
}
