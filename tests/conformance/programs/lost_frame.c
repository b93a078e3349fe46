/* A handler returns where its frame is not: SIGSEGV, which the program can handle.
 *
 * link: all
 */
#include "check.h"
#include <sys/mman.h>

#define PAGE 4096

static uint8_t *edge;

/* Its return address, alone at the end of what is mapped. */
static void on_usr(int signo, siginfo_t *info, void *context)
{
	void *back = __builtin_return_address(0);

	(void)signo, (void)info, (void)context;
	memcpy(edge - sizeof(back), &back, sizeof(back));
	__asm__ volatile("mov %0, %%rsp; ret" : : "r"(edge - sizeof(back)) : "memory");
}

static void on_segv(int signo, siginfo_t *info, void *context)
{
	(void)context;
	CHECK(signo == SIGSEGV && info->si_code == SI_KERNEL && info->si_addr == NULL);
	_exit(0);
}

int main(void)
{
	static uint8_t own[64 * 1024];
	stack_t stack = { .ss_sp = own, .ss_size = sizeof(own) };

	edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(edge != MAP_FAILED && munmap(edge + PAGE, PAGE) == 0);
	edge += PAGE;
	CHECK(sigaltstack(&stack, NULL) == 0);
	catch_signal(SIGSEGV, on_segv, SA_ONSTACK);
	catch_signal(SIGUSR1, on_usr, 0);
	raise(SIGUSR1);
	return 1;
}
