/* Process groups on a terminal: stop, foreground, background, continue. */
#include "check.h"
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>

static int master;

static void background_write(int tty)
{
	struct termios modes;

	CHECK(setpgid(0, 0) == 0);
	CHECK(tcgetattr(tty, &modes) == 0);
	modes.c_lflag |= TOSTOP;
	raise(SIGSTOP);
	_exit(write(tty, "hi", 2) == 2 ? 21 : 1);
}

static int in_session(void)
{
	int tty, status;
	pid_t child;

	CHECK(setsid() == getpid());
	tty = open(ptsname(master), O_RDWR);
	CHECK(tty >= 0 && ioctl(tty, TIOCSCTTY, 0) == 0);
	CHECK(tcgetpgrp(tty) == getpgrp());
	child = fork();
	if (child == 0)
		background_write(tty);
	CHECK(waitpid(child, &status, WUNTRACED) == child);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	CHECK(getpgid(child) == child);
	signal(SIGTTOU, SIG_IGN);
	CHECK(tcsetpgrp(tty, child) == 0 && tcgetpgrp(tty) == child);
	CHECK(kill(-child, SIGCONT) == 0);
	CHECK(waitpid(child, &status, WCONTINUED) == child);
	if (WIFCONTINUED(status))
		CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 21);
	CHECK(tcsetpgrp(tty, getpgrp()) == 0);
	return 33;
}

static void interrupted(int tty)
{
	CHECK(setsid() == getpid() && ioctl(tty, TIOCSCTTY, 0) == 0);
	CHECK(write(tty, "R", 1) == 1);
	for (;;)
		pause();
}

int main(void)
{
	char byte;
	int status, tty;
	pid_t child;

	master = posix_openpt(O_RDWR | O_NOCTTY);
	CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	child = fork();
	if (child == 0)
		_exit(in_session());
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 33);

	master = posix_openpt(O_RDWR | O_NOCTTY);
	CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	tty = open(ptsname(master), O_RDWR | O_NOCTTY);
	child = fork();
	if (child == 0)
		interrupted(tty);
	CHECK(read(master, &byte, 1) == 1 && byte == 'R');
	CHECK(write(master, "\003", 1) == 1);
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
	return 0;
}
