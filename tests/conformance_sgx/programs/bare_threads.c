/* Threads that no libc knows: clone with a stack of their own and no thread-local memory,
 * inside the enclave at once, through an ENCLU of the program's own.
 *
 * link: dynamic
 */
#include "host.h"

#include <linux/futex.h>
#include <sched.h>

#define BARE 8
#define FLAGS                                                                     \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |       \
	 CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

static struct op ops[BARE];
static uint64_t tcs[BARE];
static volatile uint64_t met;
static volatile int tids[BARE];

/* In the new thread: own_enter(op, tcs), then the end of the thread. */
long bare_clone(unsigned long flags, void *stack, volatile int *tid, struct op *op,
		uint64_t where);
__asm__(".globl bare_clone\n"
	"bare_clone:\n"
	"	push %r12\n"
	"	push %r13\n"
	"	mov %rcx, %r12\n"
	"	mov %r8, %r13\n"
	"	mov %rdx, %r10\n" /* cleared at its end */
	"	xor %r8d, %r8d\n"
	"	mov $56, %eax\n"
	"	syscall\n"
	"	test %eax, %eax\n"
	"	jnz 1f\n"
	"	mov %r12, %rdi\n"
	"	mov %r13, %rsi\n"
	"	call own_enter\n"
	"	xor %edi, %edi\n"
	"	mov $60, %eax\n"
	"	syscall\n"
	"	ud2\n"
	"1:	pop %r13\n"
	"	pop %r12\n"
	"	ret\n");

int main(void)
{
	struct enclave e = host_load("3");
	uint64_t size = 16 * PAGE;

	for (int i = 0; i < BARE; i++) {
		uint8_t *stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(stack != MAP_FAILED);
		tcs[i] = host_tcs(&e, (unsigned int)i);
		ops[i] = (struct op){ .what = DO_MEET, .address = (uint64_t)&met,
				      .value = BARE };
		CHECK(bare_clone(FLAGS, stack + size - 64, &tids[i], &ops[i], tcs[i]) > 0);
	}
	for (int i = 0; i < BARE; i++)
		for (int tid; (tid = tids[i]) != 0;)
			syscall(SYS_futex, &tids[i], FUTEX_WAIT, tid, NULL);
	CHECK(met == BARE);
	return 0;
}
