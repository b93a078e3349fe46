/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the launch enclave that lies beside it:
 *
 *	launch get ENCLAVE.sig [ATTRIBUTES XFRM]	a token, to the standard output
 *	launch start ENCLAVE.elf ENCLAVE.sig [TOKEN]	whether INIT takes it
 *
 * ATTRIBUTES and XFRM are those that the loader will give the enclave; without them
 * those that its SIGSTRUCT has.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../hello/load.h"
#include "../hello/sha256.h"
#include "message.h"

static const char *const reasons[] = {
	[VERDICT_NONE] = "the launch enclave said nothing",
	[VERDICT_NOT_LISTED] = "the launch enclave does not list its signer",
	[VERDICT_NO_PROVISIONKEY] = "its signer may not have PROVISIONKEY",
	[VERDICT_NO_EINITTOKENKEY] = "no token is made for a launch enclave",
	[VERDICT_NO_RANDOM] = "the processor has no random number now",
	[VERDICT_NO_KEY] = "EGETKEY gives no launch key: signed without --launch?",
};

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text || *end)
		errx(2, "%s: not a number", text);
	return value;
}

static struct wanted wanted_of(const char *path)
{
	struct sigstruct sig = sigstruct_read(path);
	struct wanted wanted;

	memcpy(wanted.mrenclave, sig.enclavehash, sizeof(wanted.mrenclave));
	sha256(sig.modulus, sizeof(sig.modulus), wanted.mrsigner);
	memcpy(&wanted.attributes, sig.attributes_and_xfrm, sizeof(sig.attributes_and_xfrm));
	return wanted;
}

static int get(const char *path, const char *attributes, const char *xfrm)
{
	static char elf[PATH_MAX], sig[PATH_MAX];
	struct message message = { .wanted = wanted_of(path) };
	struct enclave enclave;

	if (attributes) {
		message.wanted.attributes = number(attributes);
		message.wanted.xfrm = number(xfrm);
	}
	if (isatty(STDOUT_FILENO))
		errx(2, "a token is no text: write it to a file");
	enclave = enclave_load(beside_us("enclave.elf", elf), beside_us("enclave.sig", sig));
	enclave_enter(&enclave, &message);
	if (message.verdict != VERDICT_TOKEN)
		errx(1, "%s: no token: %s", path, reasons[message.verdict]);
	if (fwrite(&message.token, sizeof(message.token), 1, stdout) != 1 || fflush(stdout))
		err(1, "the token cannot be written");
	return 0;
}

static int start(const char *elf, const char *sig, const char *token_path)
{
	/* EINIT wants it aligned; the driver copies, and does not. */
	static struct token token;
	FILE *file = token_path ? fopen(token_path, "rb") : NULL;

	if (token_path && !file)
		err(1, "%s", token_path);
	if (file && (fread(&token, sizeof(token), 1, file) != 1 || fgetc(file) != EOF))
		errx(1, "%s: not an EINITTOKEN of 304 bytes", token_path);
	enclave_load_with(elf, sig, file ? &token : NULL);
	puts("launched");
	return 0;
}

int main(int argc, char **argv)
{
	if ((argc == 3 || argc == 5) && !strcmp(argv[1], "get"))
		return get(argv[2], argc == 5 ? argv[3] : NULL, argc == 5 ? argv[4] : NULL);
	if ((argc == 4 || argc == 5) && !strcmp(argv[1], "start"))
		return start(argv[2], argv[3], argc == 5 ? argv[4] : NULL);
	fputs("usage: launch get ENCLAVE.sig [ATTRIBUTES XFRM] > TOKEN\n"
	      "       launch start ENCLAVE.elf ENCLAVE.sig [TOKEN]\n",
	      stderr);
	return 2;
}
