/* What an enclave finds in its frame about an exception: EXITINFO, and with MISCSELECT
 * also EXINFO of page faults and #GP, with the whole address that the host does not see.
 *
 * link: all
 */
#include "host.h"

#define VALID 0x80000000u
#define HARDWARE 0x300u
#define EXITINFO (PAGE - 184 + 160)
#define MADDR (PAGE - 184 - 16)
#define ERRCD (PAGE - 184 - 8)
#define NOTHING 0x1122334455667788ul

static struct enclave e;
static uint64_t tcs;

static void expect(struct op op, uint32_t exitinfo, uint64_t maddr, uint64_t errcd)
{
	struct op skip = { .what = DO_SKIP, .value = op.size };
	struct sgx_enclave_run run;

	frame_store(tcs, 0, MADDR, NOTHING);
	frame_store(tcs, 0, ERRCD, NOTHING);
	frame_store(tcs, 0, EXITINFO, 0);
	CHECK(vdso_call(tcs, EENTER, &op, &run) == 0 && run.function == ERESUME);
	CHECK((uint32_t)frame_load(tcs, 0, EXITINFO) == exitinfo);
	CHECK(frame_load(tcs, 0, MADDR) == maddr);
	CHECK(frame_load(tcs, 0, ERRCD) == errcd);
	if (exitinfo == (VALID | HARDWARE | PF))
		CHECK(run.exception_addr == (maddr & -(uint64_t)PAGE) &&
		      run.exception_error_code == errcd);
	vdso_do(tcs, &skip);
	CHECK(vdso_call(tcs, ERESUME, &op, &run) == 0 && run.function == EEXIT);
}

static void on_alarm(int signo)
{
	(void)signo;
}

/* An interrupt says nothing, and what an earlier exception said goes. */
static void interrupted(void)
{
	const struct itimerval soon = { { 0, 0 }, { 0, 20000 } };
	struct inside in = { .tcs = tcs, .op = { .what = DO_COUNT } };

	frame_store(tcs, 0, EXITINFO, ~0ul);
	frame_store(tcs, 0, MADDR, NOTHING);
	signal(SIGALRM, on_alarm);
	inside_start(&in);
	CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
	for (int i = 0; i < 20; i++) {
		CHECK(pthread_kill(in.thread, SIGALRM) == 0);
		usleep(1000);
	}
	inside_wait(&in);
	/* AEXNOTIFY and the reserved bytes are the enclave's to write. */
	CHECK(frame_load(tcs, 0, EXITINFO) == 0xffffffff00000000ul);
	CHECK(frame_load(tcs, 0, MADDR) == NOTHING);
}

int main(void)
{
	uint64_t none = (uint64_t)mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
				       -1, 0);

	for (int with = 0; with < 2; with++) {
		uint32_t page = with ? VALID | HARDWARE | PF : 0;

		e = host_load(with ? "exinfo" : "3");
		tcs = host_tcs(&e, 0);
		expect((struct op){ .what = DO_DIVIDE, .size = 2 }, VALID | HARDWARE | 0,
		       NOTHING, NOTHING);
		expect((struct op){ .what = DO_UNDEFINED, .size = 2 },
		       VALID | HARDWARE | 6, NOTHING, NOTHING);
		expect((struct op){ .what = DO_PROTECTED, .size = 1 },
		       with ? VALID | HARDWARE | 13 : 0, with ? 0 : NOTHING,
		       with ? 0 : NOTHING);
		expect((struct op){ .what = DO_WRITE, .address = none + 0x345, .size = 2 },
		       page, with ? none + 0x345 : NOTHING, with ? PF_U | PF_W : NOTHING);
		expect((struct op){ .what = DO_READ, .address = e.base + 0x123, .size = 3 },
		       page, with ? e.base + 0x123 : NOTHING,
		       with ? PF_SGX | PF_U | PF_P : NOTHING);
		interrupted();
	}
	return 0;
}
