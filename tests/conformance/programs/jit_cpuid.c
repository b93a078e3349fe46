/* CPUID in generated code and from the C library's code tells the same of what can be
 * executed; data that only looks like CPUID stays as it is. */
#include "check.h"
#include <cpuid.h>
#include <sys/mman.h>

/* mov eax, edi; xor ecx, ecx; push rbx; cpuid; mov eax, edx; pop rbx; ret */
static const unsigned char text[] = {
	0x89, 0xf8, 0x31, 0xc9, 0x53, 0x0f, 0xa2, 0x89, 0xd0, 0x5b, 0xc3,
};

/* A constant that holds the bytes of CPUID. */
static unsigned __attribute__((noinline)) constant(void)
{
	unsigned value;

	__asm__ volatile("movl $0x90a20f90, %0" : "=r"(value));
	return value;
}

int main(void)
{
	unsigned a, b, c, d, (*run)(unsigned);
	unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(code != MAP_FAILED);
	memcpy(code, text, sizeof(text));
	CHECK(mprotect(code, 4096, PROT_READ | PROT_EXEC) == 0);
	run = (unsigned (*)(unsigned))(void *)code;
	__cpuid_count(1, 0, a, b, c, d);
	CHECK(run(1) == d);
	CHECK(constant() == 0x90a20f90);
	__cpuid_count(0, 0, a, b, c, d);
	CHECK(a >= 7 && c != 0 && d != 0);
	return 0;
}
