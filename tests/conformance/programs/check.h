/* What every conformance program shares: each must also pass on plain Linux. */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define CHECK(truth)                                                        \
	do {                                                                \
		if (!(truth)) {                                             \
			fprintf(stderr, "%s:%d: not so: %s (errno %d)\n",   \
				__FILE__, __LINE__, #truth, errno);         \
			_exit(1);                                           \
		}                                                           \
	} while (0)

#define CHECK_FAILS(call, expected)                                         \
	do {                                                                \
		errno = 0;                                                  \
		CHECK((call) == -1);                                        \
		CHECK(errno == (expected));                                 \
	} while (0)

#define GREG(context, name) \
	(((ucontext_t *)(context))->uc_mcontext.gregs[REG_##name])

typedef void on_signal(int, siginfo_t *, void *);

/* Install a three-argument handler. */
static inline void catch_signal(int signo, on_signal *handler, int flags)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = handler;
	action.sa_flags = SA_SIGINFO | flags;
	CHECK(sigaction(signo, &action, NULL) == 0);
}

/* Run a function in a child and return its wait status. */
static inline int status_of(void (*body)(void))
{
	int status = -1;
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0) {
		body();
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child);
	return status;
}

#endif
