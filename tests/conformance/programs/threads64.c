/* 64 threads, each with thread-local data, its own faults and its own stack for them. */
#include "check.h"
#include <pthread.h>

#define THREADS 64
#define FAULTS  20
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t start;
static _Thread_local int mine;
static _Thread_local char *my_stack;
static int total;

static void handler(int signo, siginfo_t *info, void *context)
{
	char here;

	(void)signo, (void)info;
	CHECK(&here > my_stack && &here < my_stack + 32768);
	mine++;
	GREG(context, RIP) += 2;
}

static void *work(void *argument)
{
	stack_t stack = { .ss_size = 32768 };

	my_stack = malloc(32768);
	stack.ss_sp = my_stack;
	CHECK(sigaltstack(&stack, NULL) == 0);
	pthread_barrier_wait(&start);
	for (int i = 0; i < FAULTS; i++)
		__asm__ volatile("ud2");
	CHECK(mine == FAULTS);
	pthread_mutex_lock(&lock);
	total += mine;
	pthread_mutex_unlock(&lock);
	stack.ss_flags = SS_DISABLE;
	CHECK(sigaltstack(&stack, NULL) == 0);
	free(my_stack);
	return argument;
}

int main(void)
{
	pthread_t threads[THREADS];
	void *result;

	catch_signal(SIGILL, handler, SA_ONSTACK);
	pthread_barrier_init(&start, NULL, THREADS);
	for (long i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
	for (long i = 0; i < THREADS; i++) {
		CHECK(pthread_join(threads[i], &result) == 0);
		CHECK(result == (void *)i);
	}
	CHECK(total == THREADS * FAULTS);
	return 0;
}
