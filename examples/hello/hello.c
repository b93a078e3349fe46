/* SPDX-License-Identifier: Apache-2.0 */
/* The host: builds the enclave that lies beside it, enters it, prints its answers. */
#define _GNU_SOURCE
#include <err.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"
#include "message.h"

static void print_bytes(const char *label, const uint8_t *bytes, size_t length)
{
	printf("  %-11s", label);
	for (size_t i = 0; i < length; i++)
		printf("%02x", bytes[i]);
	putchar('\n');
}

static void visit(const struct enclave *enclave, struct message *message,
		  const char *name)
{
	memset(message, 0, sizeof(*message));
	strncpy(message->name, name, sizeof(message->name) - 1);
	enclave_enter(enclave, message);
	printf("enclave: %.*s\n", (int)sizeof(message->answer), message->answer);
	if (memcmp(message->report.reportdata, message->guestbook,
		   sizeof(message->guestbook)))
		errx(1, "the report is not over the guest book");
}

int main(int argc, char **argv)
{
	static char elf[PATH_MAX], sig[PATH_MAX];
	static struct message message;
	static char *nobody[] = { "world", "enclave", "world", NULL };
	struct sigstruct signed_as;
	struct enclave enclave;

	enclave = enclave_load(beside_us("enclave.elf", elf), beside_us("enclave.sig", sig));
	signed_as = sigstruct_read(sig);
	printf("host: enclave of %#llx bytes built from %u segments\n",
	       (unsigned long long)enclave.size, enclave.segments);
	for (char **name = argc > 1 ? argv + 1 : nobody; *name; name++)
		visit(&enclave, &message, *name);
	puts("host: its report says");
	print_bytes("MRENCLAVE", message.report.mrenclave, sizeof(message.report.mrenclave));
	print_bytes("MRSIGNER", message.report.mrsigner, sizeof(message.report.mrsigner));
	print_bytes("REPORTDATA", message.report.reportdata, 32);
	printf("  %-11s%#llx%s\n", "ATTRIBUTES",
	       (unsigned long long)message.report.attributes,
	       message.report.attributes & 2 ? " (debug)" : "");
	if (memcmp(message.report.mrenclave, signed_as.enclavehash, 32))
		errx(1, "MRENCLAVE is not the one that was signed");
	puts("host: MRENCLAVE is the one that was signed");
	return 0;
}
