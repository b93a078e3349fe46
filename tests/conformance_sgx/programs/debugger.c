/* What a debugger reaches of an enclave, by ptrace and /proc/PID/mem: of one for debugging
 * its memory, whatever the mapping allows, and of a TCS no more than the processor shows;
 * of another nothing. */
#include "host.h"

#include <elf.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#define TCS_FLAGS 8
#define TCS_OENTRY 32
#define TCS_LIMIT 88

static struct {
	uint64_t debug, production, code;
} *told;
static int mem;

static uint64_t code_offset(void)
{
	char path[4096] = "";
	Elf64_Ehdr header;
	FILE *file;

	CHECK(readlink("/proc/self/exe", path, sizeof(path) - 64) > 0);
	strcpy(strrchr(path, '/'), "/../enclave/debug.elf");
	file = fopen(path, "r");
	CHECK(file && fread(&header, sizeof(header), 1, file) == 1);
	fclose(file);
	return header.e_entry & ~(PAGE - 1ull);
}

static void child(void)
{
	struct enclave debug = host_load("debug"), production = host_load("3");

	told->debug = debug.base;
	told->production = production.base;
	told->code = code_offset();
	CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
	raise(SIGSTOP);
	/* The code is as it was, and runs. */
	vdso_ask(host_tcs(&debug, 0), DO_NOTHING, 0, 0, 0);
	raise(SIGSTOP);
	vdso_ask(host_tcs(&debug, 0), DO_NOTHING, 0, 0, 0);
	_exit(9);
}

static int peek(pid_t pid, uint64_t address, uint64_t *word)
{
	uint64_t there = 0;

	errno = 0;
	*word = ptrace(PTRACE_PEEKDATA, pid, address, 0);
	if (errno)
		return errno;
	/* The other way shows the same. */
	CHECK(pread(mem, &there, 8, address) == 8 && there == *word);
	return 0;
}

static void check_code(pid_t pid, uint64_t code)
{
	uint64_t word, again;
	uint8_t bytes[2] = { 0xcc, 0xcc };

	CHECK(peek(pid, code, &word) == 0 && word != 0);
	CHECK(ptrace(PTRACE_POKEDATA, pid, code, ~word) == 0);
	CHECK(peek(pid, code, &again) == 0 && again == ~word);
	CHECK(pwrite(mem, &word, 8, code) == 8);
	CHECK(pwrite(mem, bytes, 2, code + 7) == 2);
	CHECK(peek(pid, code, &again) == 0 && again >> 56 == 0xcc);
	CHECK(pread(mem, bytes, 1, code + 7) == 1 && bytes[0] == 0xcc);
	CHECK(ptrace(PTRACE_POKEDATA, pid, code, word) == 0);
}

static void check_tcs(pid_t pid, uint64_t tcs, uint64_t code)
{
	uint64_t word;

	CHECK(peek(pid, tcs + TCS_OENTRY, &word) == 0 && word >= code);
	CHECK(ptrace(PTRACE_POKEDATA, pid, tcs + TCS_FLAGS, 1) == 0);
	CHECK(peek(pid, tcs + TCS_FLAGS, &word) == 0 && word == 1);
	CHECK_FAILS(ptrace(PTRACE_POKEDATA, pid, tcs + TCS_OENTRY, 0), EIO);
	CHECK(peek(pid, tcs + TCS_LIMIT, &word) == EIO);
}

static void check_opaque(pid_t pid, uint64_t base)
{
	uint64_t word;

	for (uint64_t at = base; at <= base + told->code; at += told->code) {
		CHECK(peek(pid, at, &word) == EIO);
		CHECK_FAILS(ptrace(PTRACE_POKEDATA, pid, at, 0), EIO);
		CHECK_FAILS(pread(mem, &word, 8, at), EIO);
		CHECK_FAILS(pwrite(mem, &word, 8, at), EIO);
	}
}

static void go_on(pid_t pid)
{
	int status;

	CHECK(ptrace(PTRACE_CONT, pid, 0, 0) == 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
}

int main(void)
{
	uint64_t word, code;
	char path[32];
	int status;
	pid_t pid;

	told = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid = fork();
	if (pid == 0)
		child();
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDWR);
	CHECK(mem >= 0);
	code = told->debug + told->code;
	CHECK(peek(pid, code + 8, &word) == 0);
	check_code(pid, code);
	CHECK(ptrace(PTRACE_POKEDATA, pid, code + 8, word) == 0);
	go_on(pid);
	check_tcs(pid, told->debug, told->code);
	check_opaque(pid, told->production);
	CHECK(ptrace(PTRACE_CONT, pid, 0, 0) == 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9);
	return 0;
}
