/* An enclave's descriptor goes by a socket to another program, which maps the enclave and
 * enters it.
 */
#include "host.h"

#include <sys/socket.h>

#define WORD 0x1122334455667788ull
#define MOST 64

struct mapping {
	uint64_t start, end;
	int prot;
};
static struct {
	struct enclave e;
	uint64_t mine;
	size_t count;
	struct mapping mappings[MOST];
} told;

static void list_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512], prot[8];

	CHECK(maps);
	while (fgets(line, sizeof(line), maps)) {
		struct mapping *to = &told.mappings[told.count];

		if (sscanf(line, "%lx-%lx %4s", &to->start, &to->end, prot) != 3 ||
		    to->start - told.e.base >= told.e.size || !strstr(line, "sgx"))
			continue;
		to->prot = (prot[0] == 'r' ? PROT_READ : 0) |
			   (prot[1] == 'w' ? PROT_WRITE : 0) |
			   (prot[2] == 'x' ? PROT_EXEC : 0);
		CHECK(++told.count < MOST);
	}
	CHECK(fclose(maps) == 0 && told.count > 2);
}

static void transfer(int socket, int sends)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec all = { &told, sizeof(told) };
	struct msghdr message = { .msg_iov = &all, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	if (sends) {
		*head = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
					  .cmsg_len = CMSG_LEN(sizeof(int)) };
		memcpy(CMSG_DATA(head), &told.e.fd, sizeof(int));
		CHECK(sendmsg(socket, &message, 0) == sizeof(told));
	} else {
		CHECK(recvmsg(socket, &message, 0) == sizeof(told));
		memcpy(&told.e.fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	}
}

static int receiver(int socket)
{
	uint64_t tcs;

	transfer(socket, 0);
	tcs = host_tcs(&told.e, 1);
	for (size_t i = 0; i < told.count; i++) {
		struct mapping *m = &told.mappings[i];

		CHECK(mmap((void *)m->start, m->end - m->start, m->prot,
			   MAP_SHARED | MAP_FIXED_NOREPLACE, told.e.fd, 0) ==
		      (void *)m->start);
	}
	CHECK(vdso_ask(tcs, DO_LOAD, told.mine, 0, 0) == WORD);
	vdso_ask(tcs, DO_STORE, told.mine, WORD + 1, 0);
	CHECK(*(volatile uint64_t *)told.mine == ~0ull);
	CHECK(close(told.e.fd) == 0);
	CHECK(vdso_ask(tcs, DO_LOAD, told.mine, 0, 0) == WORD + 1);
	return 0;
}

int main(int argc, char **argv)
{
	int sockets[2], status;
	char number[16], *again[] = { argv[0], number, NULL };
	pid_t child;

	if (argc > 1)
		return receiver(atoi(argv[1]));
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets) == 0);
	snprintf(number, sizeof(number), "%d", sockets[1]);
	child = fork(); /* before there is an enclave */
	if (child == 0) {
		close(sockets[0]);
		execv("/proc/self/exe", again);
		_exit(127);
	}
	told.e = host_load("3");
	told.mine = vdso_ask(host_tcs(&told.e, 0), DO_AREA, 0, 0, 0) + 0x1000;
	vdso_ask(host_tcs(&told.e, 0), DO_STORE, told.mine, WORD, 0);
	list_mappings();
	transfer(sockets[0], 1);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(vdso_ask(host_tcs(&told.e, 0), DO_LOAD, told.mine, 0, 0) == WORD + 1);
	return 0;
}
