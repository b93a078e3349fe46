/* A host with an ENCLU and an AEP of its own: EEXIT returns behind its ENCLU, with
 * RCX = AEP.
 *
 * link: all
 */
#include "host.h"

int main(void)
{
	struct enclave e = host_load("3");
	struct op op = { .what = DO_BASES };

	for (int i = 0; i < 50; i++)
		CHECK(own_enter(&op, host_tcs(&e, 0)) == (uint64_t)own_aep);
	CHECK(((uint64_t *)op.data)[0] == e.base + ((uint64_t *)op.data)[2] + AREA_FS);
	return 0;
}
