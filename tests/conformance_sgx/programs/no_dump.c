/* A core dump leaves enclaves out: their mappings say so. */
#include "host.h"

/* The flags of the mapping that an address is in, as /proc/self/smaps has them. */
static void flags_at(uint64_t address, char *flags, size_t size)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	unsigned long start = 0, end = 0, from, to;
	char line[512];

	CHECK(file);
	flags[0] = '\0';
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			start = from;
			end = to;
		}
		if (strncmp(line, "VmFlags:", 8) == 0 && start <= address && address < end)
			snprintf(flags, size, "%s", line);
	}
	fclose(file);
}

int main(void)
{
	struct enclave e = host_load("3");
	char flags[512];

	for (uint64_t at = 0; at < ENCLAVE_SIZE / 2; at += 0x10000) {
		flags_at(e.base + at, flags, sizeof(flags));
		if (strstr(flags, " sh"))
			CHECK(strstr(flags, " dd"));
	}
	flags_at(e.base, flags, sizeof(flags));
	CHECK(strstr(flags, " sh") && strstr(flags, " dd"));
	/* What is no enclave is dumped. */
	flags_at((uint64_t)flags, flags, sizeof(flags));
	CHECK(flags[0] && !strstr(flags, " dd"));
	return 0;
}
