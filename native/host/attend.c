/* SPDX-License-Identifier: Apache-2.0
 *
 * The main thread of a run: it passes signals on and waits for the first process.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "softsgx.h"

/* Signals that are the program's when somebody sends them to us, and of its end; those
 * that the terminal sends both of us are the program's alone.  Threads that begin from
 * now on get none of them. */
long softsgx_hear(void)
{
	static const int heard[] = {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
	struct sigaction act, ignore = {.sa_handler = SIG_IGN};
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(heard) / sizeof(heard[0]); i++)
		if (!sigaction(heard[i], NULL, &act) && act.sa_handler != SIG_IGN)
			sigaddset(&set, heard[i]);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGQUIT, &ignore, NULL);
	return fd;
}

/* No signal ends or interrupts a thread that serves. */
long softsgx_deafen(void)
{
	sigset_t all;

	sigfillset(&all);
	return -pthread_sigmask(SIG_BLOCK, &all, NULL);
}

/* Say whether the program has ended; stop and go on with it. */
static int has_ended(pid_t pid, int *status)
{
	long found = softsgx_wait_child(pid);

	if (found == -1)
		return 0;
	*status = (int)found;
	if (!WIFSTOPPED(found))
		return 1;
	/* The shell waits for us: stop as the program did, go on with it. */
	kill(getpid(), SIGSTOP);
	kill(pid, SIGCONT);
	return 0;
}

static void pass_on(int heard, pid_t pid)
{
	struct signalfd_siginfo info;

	while (read(heard, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo != SIGCHLD)
			kill(pid, (int)info.ssi_signo);
}

/* Wait for the end of a child, stop while it is stopped: 1, with its status.  0: nobody
 * serves it any more. */
long softsgx_attend(pid_t pid, int heard, int over, int *status)
{
	struct pollfd fds[] = {{heard, POLLIN, 0}, {over, POLLIN, 0}};

	while (!has_ended(pid, status)) {
		if (fds[1].revents)
			return 0;
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return -errno;
		pass_on(heard, pid);
	}
	return 1;
}

/* Each enclave and each process of the tree needs one. */
long softsgx_all_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	limit.rlim_cur = limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &limit) ? -errno : 0;
}
