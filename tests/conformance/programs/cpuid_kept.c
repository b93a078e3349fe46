/* CPUID changes its four registers and nothing else: also in a program that begins for the
 * second time, at the end of a stack, and while signals come. */
/* link: glibc */
#include "check.h"
#include <cpuid.h>
#include <sys/mman.h>
#include <sys/time.h>

struct state {
	uint64_t a, b, c, d;	   /* in and out */
	uint64_t others[10];	   /* RSI, RDI, R8 to R15 */
	uint64_t below[16];	   /* under the stack pointer */
	uint64_t carry;
};

/* Behind the instruction comes what touches registers alone. */
void kept(struct state *state, void *stack);
__asm__(".text\n.type kept, @function\n"
	"kept: .cfi_startproc\n"
	"push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
	"mov %rsp, keep(%rip)\n"
	"mov %rdi, to(%rip)\n"
	"mov %rsi, %rsp\n"
	"mov 8(%rdi), %rbx\nmov 16(%rdi), %rcx\nmov 24(%rdi), %rdx\n"
	"mov 40(%rdi), %rsi\nmov 48(%rdi), %r8\nmov 56(%rdi), %r9\n"
	"mov 64(%rdi), %r10\nmov 72(%rdi), %r11\nmov 80(%rdi), %r12\n"
	"mov 88(%rdi), %r13\nmov 96(%rdi), %r14\nmov 104(%rdi), %r15\n"
	"mov 32(%rdi), %rdi\n"
	"xchg %rsi, %rdi\n"
	".set n, 1\n.rept 16\nmovq $n, -8*n(%rsp)\n.set n, n + 1\n.endr\n"
	"mov to(%rip), %rax\nmov (%rax), %rax\n"
	"stc\n"
	"cpuid\n"
	"mov %rdi, %rbp\n"
	"mov %rax, %rdi\n"
	"mov to(%rip), %rax\n"
	"mov %rdi, (%rax)\nmov %rbx, 8(%rax)\nmov %rcx, 16(%rax)\nmov %rdx, 24(%rax)\n"
	"mov %rsi, 32(%rax)\nmov %rbp, 40(%rax)\nmov %r8, 48(%rax)\nmov %r9, 56(%rax)\n"
	"mov %r10, 64(%rax)\nmov %r11, 72(%rax)\nmov %r12, 80(%rax)\n"
	"mov %r13, 88(%rax)\nmov %r14, 96(%rax)\nmov %r15, 104(%rax)\n"
	".set n, 1\n.rept 16\nmov -8*n(%rsp), %rdx\nmov %rdx, 104+8*n(%rax)\n"
	".set n, n + 1\n.endr\n"
	"mov $0, %edx\nadc $0, %edx\nmov %rdx, 240(%rax)\n"
	"mov keep(%rip), %rsp\n"
	"pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\n"
	"ret\n.cfi_endproc\n.size kept, . - kept\n"
	".local keep, to\n.comm keep, 8, 8\n.comm to, 8, 8\n");

/* Behind it comes what reaches a word by its own place: 1 if the one compared is 5; what
 * was stored and loaded again is in found, with EDX as it came last. */
int by_rip(unsigned leaf, unsigned *found);
__asm__(".text\n.type by_rip, @function\n"
	"by_rip: .cfi_startproc\n"
	"push %rbx\n"
	"mov %rsi, %r8\n"
	"mov %edi, %eax\nxor %ecx, %ecx\ncpuid\nmov %edx, word(%rip)\n"
	"mov %edi, %eax\nxor %ecx, %ecx\ncpuid\nmov word(%rip), %esi\n"
	"mov %edi, %eax\nxor %ecx, %ecx\ncpuid\ncmpl $5, five(%rip)\n"
	"sete %al\nmovzbl %al, %eax\n"
	"mov %esi, (%r8)\nmov %edx, 4(%r8)\n"
	"pop %rbx\n"
	"ret\n.cfi_endproc\n.size by_rip, . - by_rip\n"
	".local word\n.comm word, 4, 4\n"
	".data\nfive: .long 5\n.text\n");

static volatile unsigned ticks;

static void tick(int signo)
{
	(void)signo;
	ticks++;
}

static void check_leaf(unsigned leaf, unsigned subleaf, char *stack)
{
	struct state s = {.a = ~0ul << 32 | leaf, .c = ~0ul << 32 | subleaf};
	unsigned a, b, c, d;

	s.b = s.d = ~0ul;
	for (unsigned i = 0; i < 10; i++)
		s.others[i] = 0x1234567890abcdeful + i;
	kept(&s, stack);
	__cpuid_count(leaf, subleaf, a, b, c, d);
	CHECK(s.a == a && s.c == c && s.d == d);
	CHECK(leaf == 1 || s.b == b); /* it has the number of the processor */
	for (unsigned i = 0; i < 10; i++)
		CHECK(s.others[i] == 0x1234567890abcdeful + i);
	for (unsigned i = 0; i < 16; i++)
		CHECK(s.below[i] == i + 1);
	CHECK(s.carry == 1);
}

static void check_words(unsigned leaf)
{
	unsigned a, b, c, d, found[2] = {~0u, ~0u};

	__cpuid_count(leaf, 0, a, b, c, d);
	CHECK(by_rip(leaf, found) == 1);
	CHECK(found[0] == d && found[1] == d);
	(void)a, (void)b, (void)c;
}

int main(int argc, char **argv)
{
	struct itimerval every = {{0, 200}, {0, 200}};
	stack_t stack = {.ss_size = 65536, .ss_sp = malloc(65536)};
	struct sigaction act = {.sa_handler = tick, .sa_flags = SA_ONSTACK | SA_RESTART};
	char *pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (argc < 3) {
		char *again[] = {argv[0], argc < 2 ? "second" : "third", "time", NULL};

		again[2] = argc < 2 ? NULL : again[2];
		execv("/proc/self/exe", again);
		_exit(2);
	}
	CHECK(pages != MAP_FAILED && mprotect(pages, 4096, PROT_NONE) == 0);
	CHECK(sigaltstack(&stack, NULL) == 0);
	for (unsigned room = 256; room <= 4096; room += 64)
		check_leaf(7, 0, pages + 4096 + room);
	CHECK(sigaction(SIGALRM, &act, NULL) == 0 && sigaction(SIGFPE, &act, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
	while (ticks < 200) {
		check_words(0);
		check_words(7);
		check_leaf(0, 0, pages + 3 * 4096);
		check_leaf(1, 0, pages + 3 * 4096);
		check_leaf(4, 1, pages + 3 * 4096);
		check_leaf(0x12, 0, pages + 3 * 4096);
		CHECK(kill(getpid(), SIGFPE) == 0);
	}
	return 0;
}
