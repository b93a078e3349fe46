/* pthread_kill reaches its thread; a process's signal a thread that lets it in. */
#include "check.h"
#include <pthread.h>
#include <semaphore.h>

static sem_t ready, came;
static volatile pid_t who;
static volatile int stop;

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	who = (pid_t)syscall(SYS_gettid);
	sem_post(&came);
}

static void await(void)
{
	while (sem_wait(&came) == -1)
		CHECK(errno == EINTR);
}

static void *open_thread(void *argument)
{
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &one, NULL);
	*(pid_t *)argument = (pid_t)syscall(SYS_gettid);
	sem_post(&ready);
	while (!stop)
		usleep(1000);
	return NULL;
}

int main(void)
{
	pthread_t thread;
	pid_t its_id;
	sigset_t one;

	sem_init(&ready, 0, 0);
	sem_init(&came, 0, 0);
	catch_signal(SIGUSR1, handler, SA_RESTART);
	catch_signal(SIGILL, handler, SA_RESTART);
	sigemptyset(&one);
	sigaddset(&one, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &one, NULL);
	CHECK(pthread_create(&thread, NULL, open_thread, &its_id) == 0);
	while (sem_wait(&ready) == -1)
		CHECK(errno == EINTR);
	for (int i = 0; i < 50; i++) {
		CHECK(kill(getpid(), SIGUSR1) == 0);
		await();
		CHECK(who == its_id);
		CHECK(pthread_kill(thread, SIGILL) == 0);
		await();
		CHECK(who == its_id);
		CHECK(pthread_kill(pthread_self(), SIGILL) == 0);
		await();
		CHECK(who == getpid());
	}
	stop = 1;
	CHECK(pthread_join(thread, NULL) == 0);
	return 0;
}
