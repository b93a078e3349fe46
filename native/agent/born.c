/* SPDX-License-Identifier: Apache-2.0
 *
 * A program under a debugger: the stops that the agent makes for the debugger's own
 * agent (tracer.c), and the one that every execve makes.
 */
#include "agent.h"

#define SI_QUEUE_ (-1)
#define PTRACE_TRACEME_ 0

u64 visit_stop;

/* A stop where the program goes on, for the agent of the debugger. */
void stop_for_tracer(void)
{
	struct k_siginfo info = {.signo = SIGTRAP, .code = SI_QUEUE_};
	u64 value = BORN_VALUE;

	memcpy(info.rest, &value, sizeof(value));
	signal_requeue(&info);
}

/* The debugger is gone that should have taken it. */
int stop_of_ours(struct frame *f)
{
	u64 value;

	memcpy(&value, f->info->rest, sizeof(value));
	return f->sig == SIGTRAP && f->info->code == SI_QUEUE_ && value == BORN_VALUE;
}

/* The stop of every execve under ptrace: a SIGTRAP of its own. */
static void become_tracee(void)
{
	sys(NR_ptrace, PTRACE_TRACEME_, 0, 0, 0);
	sys(NR_kill, sys(NR_getpid, 0), SIGTRAP);
}

/* The program begins: what is pending now comes with its first instruction. */
void born_under_tracer(void)
{
	u64 all = ~0ul;

	sys(NR_rt_sigprocmask, 2, &all, 0, 8);
	if (A.config.flags & CONFIGFLAG_BORN_TRACEME)
		become_tracee();
	else if (A.config.flags & CONFIGFLAG_BORN_STOP)
		stop_for_tracer();
}
