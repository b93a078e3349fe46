/* Keeps values in pages of an enclave, for so many SECONDS, and looks at them again and
 * again from several threads.  Ends with WRONG when a page has other bytes than were
 * stored there, with LOST when the enclave cannot be entered any more: its platform is gone.
 */
#include "host.h"

#include <time.h>

#define RW (SECINFO_R | SECINFO_W)
#define FRESH (SECINFO_REG | RW | SECINFO_PENDING)
#define PAGES 480ul
#define KEEPING 3ul
#define WRONG 3
#define LOST 9

static struct enclave e;
static uint64_t kept[PAGES];
static time_t end;

static uint64_t page(uint64_t n)
{
	return e.base + SPARE + n * PAGE;
}

static uint64_t ask(uint64_t tcs, struct op op)
{
	struct sgx_enclave_run run;

	if (vdso_call(tcs, EENTER, &op, &run) || run.function != EEXIT) {
		fprintf(stderr, "keeper: lost: function %u, exception %u\n", run.function,
			run.exception_vector);
		_exit(LOST);
	}
	return op.result;
}

static uint64_t next(uint64_t *seed)
{
	return (*seed = *seed * 6364136223846793005ull + 1442695040888963407ull) >> 24;
}

/* Its pages are every third one; each has its value at another place. */
static void *keep(void *argument)
{
	uint64_t first = (uint64_t)argument, tcs = host_tcs(&e, (unsigned int)first);
	uint64_t seed = first + (uint64_t)getpid();

	while (time(NULL) < end) {
		uint64_t n = next(&seed) % (PAGES / KEEPING) * KEEPING + first;
		uint64_t at = page(n) + n * 8 % PAGE;
		struct op load = { .what = DO_LOAD, .address = at };
		struct op store = { .what = DO_STORE, .address = at };
		uint64_t found = ask(tcs, load);

		if (found != kept[n]) {
			fprintf(stderr, "keeper: page %lu: %#lx, not %#lx\n", n, found,
				kept[n]);
			_exit(WRONG);
		}
		store.value = kept[n] = next(&seed) | 1;
		ask(tcs, store);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[KEEPING];

	end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
	e = host_load("3");
	CHECK(mmap((void *)page(0), PAGES * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_FIXED, e.fd, 0) == (void *)page(0));
	for (uint64_t n = 0; n < PAGES; n++) {
		struct op op = { .what = DO_ENCLU, .address = page(n), .value = EACCEPT,
				 .size = FRESH };

		if (ask(host_tcs(&e, 0), op))
			_exit(LOST);
	}
	for (uint64_t i = 0; i < KEEPING; i++)
		CHECK(!pthread_create(&threads[i], NULL, keep, (void *)i));
	for (uint64_t i = 0; i < KEEPING; i++)
		CHECK(!pthread_join(threads[i], NULL));
	return 0;
}
