/* SPDX-License-Identifier: Apache-2.0 */
/* A program that unmaps its vDSO, as some tools do, goes on without it.
 * link: all
 */
#include "check.h"
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>

static volatile sig_atomic_t traps;

static void on_trap(int sig)
{
	(void)sig;
	traps++;
}

static void unmap_vdso(void)
{
	unsigned long start, end, vdso = getauxval(AT_SYSINFO_EHDR);
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int found = 0;

	CHECK(vdso != 0 && maps != NULL);
	while (!found && fgets(line, sizeof(line), maps))
		found = sscanf(line, "%lx-%lx", &start, &end) == 2 && start == vdso;
	CHECK(found && fclose(maps) == 0);
	CHECK(munmap((void *)start, end - start) == 0);
}

int main(void)
{
	int status, fd;
	pid_t child;

	CHECK(signal(SIGTRAP, on_trap) != SIG_ERR && signal(SIGUSR1, on_trap) != SIG_ERR);
	unmap_vdso();
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0 && close(fd) == 0);
	CHECK(raise(SIGTRAP) == 0 && raise(SIGUSR1) == 0);
	__asm__ volatile("int3");
	CHECK(traps == 3);
	child = fork();
	CHECK(child >= 0);
	if (child == 0)
		_exit(raise(SIGTRAP) == 0 && traps == 4 ? 3 : 1);
	CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3);
	return 0;
}
