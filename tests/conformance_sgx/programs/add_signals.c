/* A signal that has a handler ends an ioctl that adds many pages: it succeeds, and its count
 * says how far it came; what is left can be added then. One that is ignored, blocked or
 * does nothing does not. */
#include "host.h"

#include <sys/time.h>

#define SIZE (32ul << 20)

static struct enclave e;
static uint8_t *from;
static volatile int handled;

static void on_alarm(int signo)
{
	CHECK(signo == SIGALRM);
	handled++;
}

static void every(int ms)
{
	struct itimerval timer = { .it_value.tv_usec = 1000 * ms,
				   .it_interval.tv_usec = 1000 * ms };

	CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
}

/* Add pages from an offset on; how much was added. */
static uint64_t add(uint64_t offset)
{
	struct secinfo secinfo = { .flags = SECINFO_R | SECINFO_W | SECINFO_REG };
	struct sgx_enclave_add_pages args = {
		.src = (uint64_t)from,
		.offset = offset,
		.length = SIZE - offset,
		.secinfo = (uint64_t)&secinfo,
		.flags = SGX_PAGE_MEASURE,
	};
	int done;

	do
		done = ioctl(e.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &args);
	while (done && errno == EINTR);	/* it came before the first page */
	CHECK(done == 0);
	CHECK(args.count > 0 && args.count % PAGE == 0 && args.count <= args.length);
	return args.count;
}

static int calls_for_all(void)
{
	struct secs secs = { .ssaframesize = 1, .attributes = 4, .xfrm = 3 };
	uint64_t done = 0;
	int calls;

	e = enclave_create(SIZE, &secs);
	for (calls = 0; done < SIZE; calls++)
		done += add(done);
	CHECK(munmap((void *)e.base, SIZE) == 0 && close(e.fd) == 0);
	return calls;
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	sigset_t alarm;

	from = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(from != MAP_FAILED);
	CHECK(calls_for_all() == 1);
	/* Restarted or not is all one: there is nothing to restart. */
	for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
		action.sa_flags = flags;
		sigaction(SIGALRM, &action, NULL);
		handled = 0;
		every(2);
		CHECK(calls_for_all() > 1);
		every(0);
		CHECK(handled > 0);
	}
	every(2);
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarm, NULL);
	CHECK(calls_for_all() == 1);
	signal(SIGALRM, SIG_IGN);
	sigprocmask(SIG_UNBLOCK, &alarm, NULL);
	CHECK(calls_for_all() == 1);
	return 0;
}
