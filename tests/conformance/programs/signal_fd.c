/* signalfd, eventfd, epoll and descriptors sent over a socket. */
#include "check.h"
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

static void pass_descriptor(void)
{
	char space[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 'p';
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1,
				  .msg_control = space, .msg_controllen = sizeof(space) };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	int ends[2], null = open("/dev/null", O_RDWR), received;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &null, sizeof(int));
	CHECK(sendmsg(ends[0], &message, 0) == 1);
	CHECK(recvmsg(ends[1], &message, 0) == 1);
	memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	CHECK(received != null && write(received, "x", 1) == 1);
}

int main(void)
{
	struct signalfd_siginfo info;
	struct epoll_event event = { .events = EPOLLIN }, ready;
	uint64_t count = 3;
	sigset_t set;
	int epoll = epoll_create1(0), signals, events = eventfd(0, 0);

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGILL);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	signals = signalfd(-1, &set, SFD_NONBLOCK);
	event.data.fd = signals;
	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, signals, &event) == 0);
	CHECK(epoll_wait(epoll, &ready, 1, 0) == 0);
	CHECK(kill(getpid(), SIGILL) == 0);
	CHECK(epoll_wait(epoll, &ready, 1, 1000) == 1 && ready.data.fd == signals);
	CHECK(read(signals, &info, sizeof(info)) == sizeof(info));
	CHECK(info.ssi_signo == SIGILL && info.ssi_code == SI_USER);
	CHECK(write(events, &count, 8) == 8);
	CHECK(read(events, &count, 8) == 8 && count == 3);
	pass_descriptor();
	return 0;
}
