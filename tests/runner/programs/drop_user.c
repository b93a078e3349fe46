/* Uses an enclave, becomes another user, and goes on using it. */
#include "hostile.h"

int main(void)
{
	struct enclave e = host_load("3");

	vdso_ask(host_tcs(&e, 0), DO_NOTHING, 0, 0, 0);
	CHECK(setresuid(65533, 65533, 65533) == 0);
	for (unsigned int i = 1; i < 4; i++)
		vdso_ask(host_tcs(&e, i), DO_NOTHING, 0, 0, 0);
	puts("survived");
	return 0;
}
