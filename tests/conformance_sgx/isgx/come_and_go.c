/* Enclaves of /dev/isgx end with their mapping: more of them, one after another, than the
 * EPC holds; and the end of a program takes those that it had. */
#include "host.h"

#include "../../../examples/hello/isgx.h"

#define SIZE (1ul << 21)
#define ROUNDS 40

static void *threads_own(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct secs secs = { .size = SIZE, .ssaframesize = 1, .attributes = 4,
				     .xfrm = 3 };
		struct enclave e = { .size = SIZE,
				     .fd = open(ISGX_DEVICE, O_RDWR | O_CLOEXEC) };
		static const uint8_t page[PAGE] __attribute__((aligned(PAGE)));
		struct secinfo secinfo = { .flags = SECINFO_REG | SECINFO_R };

		CHECK(e.fd >= 0);
		isgx_create(&e, &secs);
		isgx_add(&e, page, 0, PAGE, &secinfo, true);
		close(e.fd);
		CHECK(munmap((void *)e.base, SIZE) == 0);
	}
	return unused;
}

static void dies_with_one(void)
{
	struct enclave e = host_load("3");

	CHECK(vdso_ask(host_tcs(&e, 0), DO_ENTRY, 0, 0, 0));
	kill(getpid(), SIGKILL);
}

int main(void)
{
	pthread_t threads[4];
	int status;

	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, threads_own, NULL) == 0);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (int i = 0; i < 3; i++) {
		status = status_of(dies_with_one);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	return 0;
}
