/* A stack that grows by megabytes, in the main thread and in another. */
#include "check.h"
#include <pthread.h>

static unsigned __attribute__((noinline)) dig(int depth)
{
	volatile char room[16384];

	room[0] = (char)depth;
	room[16383] = 1;
	return depth ? dig(depth - 1) + (unsigned)room[16383] : 0;
}

static void *thread(void *argument)
{
	CHECK(dig(200) == 200);
	return argument;
}

int main(void)
{
	pthread_attr_t how;
	pthread_t other;

	CHECK(dig(350) == 350);
	pthread_attr_init(&how);
	pthread_attr_setstacksize(&how, 16 << 20);
	CHECK(pthread_create(&other, &how, thread, NULL) == 0);
	CHECK(pthread_join(other, NULL) == 0);
	return 0;
}
