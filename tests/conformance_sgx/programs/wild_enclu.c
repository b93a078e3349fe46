/* ENCLU with bad operands in a program that has an enclave.
 *
 * link: all
 */
#include "wild.h"

int main(void)
{
	struct enclave e = host_load("3");
	uint64_t tcs = host_tcs(&e, 0), data = e.base + PAGE * THREADS;

	wild_catch();
	wild_anywhere();
	/* A page of the enclave that is no TCS; a place in it where no page is mapped. */
	wild((struct wild){ .rax = EENTER, .rbx = data }, SEGV_ACCERR, data);
	wild((struct wild){ .rax = EENTER, .rbx = e.base + SPARE }, SEGV_ACCERR,
	     e.base + SPARE);
	wild((struct wild){ .rax = EENTER, .rbx = tcs, .rcx = NOT_CANONICAL }, SI_KERNEL, 0);
	wild((struct wild){ .rax = ERESUME, .rbx = tcs, .rcx = NOT_CANONICAL }, SI_KERNEL,
	     0);
	/* Only EAX counts. */
	wild((struct wild){ .rax = 0x500000002, .rbx = tcs, .rcx = NOT_CANONICAL },
	     SI_KERNEL, 0);
	vdso_ask(tcs, DO_NOTHING, 0, 0, 0);
	return 0;
}
