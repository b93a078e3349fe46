/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures an SGX platform from the inside: bench WHAT AMOUNT SAMPLES
 *
 *	roundtrip N		cycles of one EENTER and EEXIT, mean of N
 *	build-unmeasured MIB	GiB/s of SGX_IOC_ENCLAVE_ADD_PAGES, untouched zeros
 *	build-measured MIB	MiB/s of the same with SGX_PAGE_MEASURE
 *	eaccept PAGES		cycles of an EACCEPT and the EAUG that it causes
 *	swap PAGES		cycles a page, one after the other, of an enclave too large
 *	swap-far PAGES		the same, but none is near the one before
 *	compute MIB		time of a SHA-256 inside over that outside
 *	tsc MS			cycles of RDTSC in a second; needs no SGX
 *
 * Prints one number a line, one line a sample, after one that is thrown away.
 */
#define _GNU_SOURCE
#include <err.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "../hello/load.h"
#include "../hello/sha256.h"
#include "op.h"

#define MIB (1ull << 20)

static struct enclave enclave;

static void load(void)
{
	char elf[PATH_MAX], sig[PATH_MAX];

	enclave = enclave_load(beside_us("enclave.elf", elf), beside_us("enclave.sig", sig));
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t enter(struct op op)
{
	enclave_enter(&enclave, &op);
	return op.result;
}

static uint64_t ask(uint64_t what, uint64_t address, uint64_t count)
{
	return enter((struct op){ .what = what, .address = address, .count = count });
}

static double roundtrip(uint64_t count)
{
	uint64_t start = __rdtsc();

	for (uint64_t i = 0; i < count; i++)
		ask(OP_NOTHING, 0, 0);
	return (double)(__rdtsc() - start) / (double)count;
}

static double build(uint64_t length, bool measured)
{
	const struct secs secs = { .ssaframesize = 1, .attributes = 4, .xfrm = 3 };
	void *from = mmap(NULL, length, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct enclave built;
	uint64_t size = PAGE;
	double start;

	if (from == MAP_FAILED)
		err(1, "no room for %#llx bytes", (unsigned long long)length);
	if (measured)
		memset(from, 0x5a, length);
	while (size < length)
		size *= 2;
	built = enclave_create(size, &secs);
	start = seconds();
	enclave_add(&built, from, 0, length, SECINFO_REG | SECINFO_R | SECINFO_W, measured);
	start = seconds() - start;
	munmap(from, length);
	munmap((void *)built.base, built.size);
	close(built.fd);
	return (double)length / start;
}

static double build_unmeasured(uint64_t mib)
{
	return build(mib * MIB, false) / (1024.0 * MIB);
}

static double build_measured(uint64_t mib)
{
	return build(mib * MIB, true) / MIB;
}

/* Maps pages that no one has touched and has them accepted: where they are, and the
 * cycles that each took. */
static uint64_t fresh_pages(uint64_t pages, double *cycles)
{
	static uint64_t offset = 64 * MIB;
	uint64_t length = pages * PAGE, at = enclave.base + offset, error, start;

	if (offset + length > enclave.size)
		errx(1, "the enclave is too small for so many samples");
	if (mmap((void *)at, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 enclave.fd, 0) == MAP_FAILED)
		err(1, "mmap");
	offset += length;
	start = __rdtsc();
	error = ask(OP_EACCEPT, at, pages);
	*cycles = (double)(__rdtsc() - start) / (double)pages;
	if (error)
		errx(1, "EACCEPT: error %llu", (unsigned long long)error);
	return at;
}

static double eaccept(uint64_t pages)
{
	double cycles;

	fresh_pages(pages, &cycles);
	return cycles;
}

/* Writes to all of the same pages, again and again. */
static double touch(uint64_t pages, uint64_t step)
{
	static uint64_t at;
	uint64_t start, wrong;
	double cycles;

	if (!at)
		at = fresh_pages(pages, &cycles);
	start = __rdtsc();
	wrong = enter((struct op){ OP_TOUCH, at, pages, step, 0 });
	cycles = (double)(__rdtsc() - start) / (double)pages;
	if (wrong)
		errx(1, "%llu pages have lost what they held", (unsigned long long)wrong);
	return cycles;
}

static double swap(uint64_t pages)
{
	return touch(pages, 1);
}

/* An odd number near a golden section of the pages: the next is always far. */
static double swap_far(uint64_t pages)
{
	return touch(pages, (pages * 618 / 1000) | 1);
}

static double compute(uint64_t mib)
{
	static uint8_t buffer[BUFFER_SIZE];
	uint64_t rounds = mib * MIB / sizeof(buffer);
	double inside, outside = seconds();

	for (uint64_t i = 0; i < rounds; i++)
		sha256(buffer, sizeof(buffer), buffer);
	outside = seconds() - outside;
	inside = seconds();
	ask(OP_SHA256, 0, rounds);
	return (seconds() - inside) / outside;
}

static double tsc(uint64_t ms)
{
	const struct timespec nap = { .tv_nsec = (long)ms * 1000000 };
	double began = seconds();
	uint64_t start = __rdtsc();

	nanosleep(&nap, NULL);
	return (double)(__rdtsc() - start) / (seconds() - began);
}

static const struct {
	const char *name;
	double (*sample)(uint64_t amount);
	bool loads;
} benches[] = {
	{ "roundtrip", roundtrip, true },
	{ "build-unmeasured", build_unmeasured, false },
	{ "build-measured", build_measured, false },
	{ "eaccept", eaccept, true },
	{ "swap", swap, true },
	{ "swap-far", swap_far, true },
	{ "compute", compute, true },
	{ "tsc", tsc, false },
};

int main(int argc, char **argv)
{
	if (argc != 4)
		errx(2, "usage: bench WHAT AMOUNT SAMPLES");
	for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
		if (strcmp(benches[i].name, argv[1]))
			continue;
		if (benches[i].loads)
			load();
		benches[i].sample(strtoull(argv[2], NULL, 0));
		for (long left = strtol(argv[3], NULL, 0); left > 0; left--) {
			printf("%.9g\n", benches[i].sample(strtoull(argv[2], NULL, 0)));
			fflush(stdout);
		}
		return 0;
	}
	errx(2, "no bench is called %s", argv[1]);
}
