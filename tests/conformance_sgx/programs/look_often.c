/* Host code that looks at an enclave, between calls in quick succession, sees ones: if it
 * looked before, and if the enclave worked for a while before.
 */
#include "host.h"

#define FEW 100
#define MANY 3000

static struct op work = { .what = DO_COUNT };

static void call_often(const struct enclave *e, int calls)
{
	for (int i = 0; i < calls; i++)
		vdso_ask(host_tcs(e, 0), DO_NOTHING, 0, 0, 0);
}

static void look(const struct enclave *e)
{
	CHECK(*(volatile uint64_t *)(host_tcs(e, THREADS)) == ~0ull);
}

static void on_alarm(int number)
{
	(void)number;
	work.stop = 1;
}

static void work_a_while(const struct enclave *e)
{
	struct itimerval once = { .it_value = { .tv_usec = 500000 } };

	signal(SIGALRM, on_alarm);
	CHECK(setitimer(ITIMER_REAL, &once, NULL) == 0);
	vdso_do(host_tcs(e, 0), &work);
}

int main(void)
{
	struct enclave one = host_load("3"), other = host_load("3");

	look(&one);
	for (int i = 0; i < MANY / FEW; i++) {
		call_often(&one, FEW);
		look(&one);
	}
	call_often(&other, MANY);
	work_a_while(&other);
	call_often(&other, FEW);
	look(&other);
	return 0;
}
