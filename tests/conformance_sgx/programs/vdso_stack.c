/* An enclave that keeps things on the host's stack over a call to the outside: the vDSO
 * hands its handler, and the next entry, RSP as the exit left it.
 *
 * link: all
 */
#include "host.h"

#define ROOM 512

static struct op lower = { .what = DO_LOWER, .value = ROOM };
static struct op nothing = { .what = DO_NOTHING };
static struct op raise_again = { .what = DO_LOWER, .value = -(uint64_t)ROOM };
static uint64_t kept;
static int exits;

static int at_exit_of_enclave(uint64_t rsp)
{
	volatile uint8_t *room = (volatile uint8_t *)rsp;

	switch (++exits) {
	case 1:
		kept = rsp;
		CHECK(rsp == lower.result - ROOM);
		for (int i = 0; i < ROOM; i++)
			room[i] = (uint8_t)(i * 7);
		own_next = &nothing;
		return EENTER;
	case 2:
		CHECK(rsp == kept);
		for (int i = 0; i < ROOM; i++)
			CHECK(room[i] == (uint8_t)(i * 7));
		own_next = &raise_again;
		return EENTER;
	}
	CHECK(raise_again.result == kept && rsp == kept + ROOM);
	return 0;
}

int main(void)
{
	struct enclave e = host_load("3");
	struct sgx_enclave_run run;

	own_exit = at_exit_of_enclave;
	for (int i = 0; i < 5; i++) {
		memset(&run, 0, sizeof(run));
		run.tcs = host_tcs(&e, 0);
		run.user_handler = (uint64_t)own_handler;
		exits = 0;
		CHECK(vdso_again(EENTER, &lower, &run) == 0);
		CHECK(exits == 3 && run.function == EEXIT);
	}
	return 0;
}
