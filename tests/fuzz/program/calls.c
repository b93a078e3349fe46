/* SPDX-License-Identifier: Apache-2.0 */
/* The device, its ioctls and the mappings of its memory. */
#include "fuzz.h"

#include <fcntl.h>
#include <sys/uio.h>

static const unsigned long commands[] = {
	SGX_IOC_ENCLAVE_CREATE, SGX_IOC_ENCLAVE_ADD_PAGES, SGX_IOC_ENCLAVE_INIT,
	SGX_IOC_ENCLAVE_PROVISION, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS,
	SGX_IOC_ENCLAVE_MODIFY_TYPES, SGX_IOC_ENCLAVE_REMOVE_PAGES,
};

/* Structures as the driver wants them, a field wrong here and there. */
static void any_structure(unsigned long cmd, uint64_t *words)
{
	struct sgx_enclave_add_pages *add = (void *)words;
	struct sgx_enclave_modify_types *modify = (void *)words;

	if (cmd == SGX_IOC_ENCLAVE_ADD_PAGES) {
		*add = (struct sgx_enclave_add_pages){
			.src = (uint64_t)victim.arena, .offset = SPARE + roll(64) * PAGE,
			.length = (1 + roll(4)) * PAGE, .secinfo = (uint64_t)victim.arena,
			.flags = roll(2),
		};
		*(uint64_t *)victim.arena = roll(5) << 8 | roll(16);
	} else {
		*modify = (struct sgx_enclave_modify_types){
			.offset = (roll(2) ? SPARE : 0) + roll(32) * PAGE,
			.length = (1 + roll(8)) * PAGE,
		};
		if (cmd != SGX_IOC_ENCLAVE_REMOVE_PAGES)
			modify->page_type = roll(8);
	}
}

static void any_secs(uint64_t *words)
{
	struct secs *secs = (struct secs *)victim.arena;

	memset(secs, 0, sizeof(*secs));
	secs->size = PAGE << roll(20);
	secs->baseaddr = (victim.e.base & -secs->size) + (roll(2) ? secs->size : 0);
	secs->ssaframesize = 1;
	secs->attributes = 4 | (roll(4) ? 0 : value());
	secs->xfrm = 3;
	words[0] = (uint64_t)secs;
}

void act_ioctl(void)
{
	unsigned long cmd = commands[roll(sizeof(commands) / sizeof(commands[0]))];
	uint64_t words[8];

	for (int i = 0; i < 8; i++)
		words[i] = value();
	if (roll(4)) {
		any_structure(cmd, words);
		if (cmd == SGX_IOC_ENCLAVE_CREATE)
			any_secs(words);
	}
	if (!roll(4))
		words[roll(8)] = value();
	ioctl(fd_value(), roll(20) ? cmd : value(), roll(12) ? words : (void *)value());
}

static uint64_t any_length(void)
{
	return roll(6) ? (1 + roll(64)) * PAGE : roll(2) ? value() : roll(PAGE);
}

/* Only over what may be lost: the enclave's range and the arena. */
static uint64_t any_place(uint64_t *length)
{
	uint64_t from = roll(5) ? victim.e.base : (uint64_t)victim.arena;
	uint64_t whole = from == victim.e.base ? victim.e.size : ARENA;
	uint64_t at = roll(whole / PAGE) * PAGE;

	*length = any_length() % (whole - at);
	return from + at;
}

void act_map(void)
{
	uint64_t length, at = any_place(&length);
	int flags = roll(6) ? MAP_SHARED : (int)roll(4);

	if (roll(3))
		mmap((void *)at, length, (int)roll(8), flags | MAP_FIXED, fd_value(),
		     roll(8) ? 0 : (off_t)value());
	else if (roll(2))
		mmap(NULL, any_length() % (64 * PAGE), (int)roll(8), flags, fd_value(), 0);
	else
		mmap((void *)at, length, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

void act_protect(void)
{
	uint64_t length, at = any_place(&length);

	if (roll(4))
		mprotect((void *)at, length, (int)roll(8));
	else
		madvise((void *)at, length, (int)roll(26));
}

void act_unmap(void)
{
	uint64_t length, to, at = any_place(&length);

	if (roll(3)) {
		munmap((void *)at, length);
	} else {
		to = any_place(&length);
		mremap((void *)at, length, any_length() % (64 * PAGE), (int)roll(8),
		       (void *)to);
	}
}

void act_files(void)
{
	uint64_t which = roll(8);
	int fd = fd_value();

	switch (roll(7)) {
	case 0:
		if (fd > 2)
			close(fd);
		break;
	case 1:
		if (fd > 2 && victim.fds[which] > 2)
			dup2(victim.fds[which], fd);
		break;
	case 2:
		victim.fds[which] = dup(fd);
		break;
	case 3:
		(void)!ftruncate(victim.fds[which], (off_t)value());
		break;
	case 4:
		victim.fds[which] = open("/dev/sgx_provision", O_RDONLY);
		break;
	default:
		victim.fds[which] = open("/dev/sgx_enclave", (int)roll(3) | O_CLOEXEC);
		break;
	}
}

/* The enclave's memory as the operand of ordinary calls. */
void act_source(void)
{
	struct iovec iov = { (void *)enclave_value(), roll(3 * PAGE) };
	static int pipes[2] = { -1, -1 };

	if (pipes[0] < 0 && pipe2(pipes, O_NONBLOCK))
		return;
	(void)!writev(pipes[1], &iov, 1);
	(void)!readv(pipes[0], &iov, 1);
	if (roll(4) == 0)
		*(volatile uint8_t *)enclave_value();
	if (roll(4) == 0)
		*(volatile uint8_t *)enclave_value() = 1;
}
