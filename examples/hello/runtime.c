/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime.h"

/* From the linker script, and from the signed size in the note. */
extern char enclave_base[];
extern const uint64_t enclave_size;

bool is_outside(const void *start, size_t length)
{
	uintptr_t low = (uintptr_t)enclave_base, high = low + enclave_size;
	uintptr_t from = (uintptr_t)start, to = from + length;

	return from <= to && (to <= low || from >= high);
}

void *memcpy(void *to, const void *from, size_t length)
{
	void *d = to;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(length) : : "memory");
	return to;
}

void *memset(void *to, int byte, size_t length)
{
	void *d = to;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(length) : "a"(byte) : "memory");
	return to;
}
