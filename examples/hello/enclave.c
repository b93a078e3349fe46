/* SPDX-License-Identifier: Apache-2.0 */
/* The enclave: greets, counts, and keeps a guest book that its host cannot forge. */
#include "message.h"
#include "runtime.h"
#include "sha256.h"

/* What the enclave remembers between visits. */
static uint64_t visitors;
static uint8_t guestbook[32];

static char *append(char *at, const char *end, const char *text)
{
	while (*text && at < end - 1)
		*at++ = *text++;
	*at = '\0';
	return at;
}

static char *append_number(char *at, const char *end, uint64_t number)
{
	char digits[21], *digit = digits + sizeof(digits) - 1;

	*digit = '\0';
	do
		*--digit = (char)('0' + number % 10);
	while (number /= 10);
	return append(at, end, digit);
}

static void greet(struct message *message)
{
	char *at = message->answer;
	const char *end = at + sizeof(message->answer);

	at = append(at, end, "Hello, ");
	at = append(at, end, message->name);
	at = append(at, end, "! You are visitor ");
	at = append_number(at, end, message->visitors);
	append(at, end, ".");
}

/* The new page of the guest book is the hash of the old one and the name. */
static void sign_guestbook(const char *name, size_t size)
{
	uint8_t page[sizeof(guestbook) + sizeof(((struct message *)0)->name)];

	memcpy(page, guestbook, sizeof(guestbook));
	memcpy(page + sizeof(guestbook), name, size);
	sha256(page, sizeof(page), guestbook);
}

/* EREPORT for nobody in particular: the host can read it, not make it. */
static void report_guestbook(struct report *report)
{
	static struct targetinfo target;
	static uint8_t data[64] __attribute__((aligned(128)));
	static struct report made __attribute__((aligned(512)));

	memcpy(data, guestbook, sizeof(guestbook));
	__asm__ volatile("enclu"
			 :
			 : "a"(EREPORT), "b"(&target), "c"(data), "d"(&made)
			 : "memory", "cc");
	*report = made;
}

void enclave_main(void *argument)
{
	static struct message message;

	if (!is_outside(argument, sizeof(message)))
		return;
	/* One copy in, one copy out: the host may write while we think. */
	memcpy(message.name, argument, sizeof(message.name));
	message.name[sizeof(message.name) - 1] = '\0';
	message.visitors = ++visitors;
	sign_guestbook(message.name, sizeof(message.name));
	memcpy(message.guestbook, guestbook, sizeof(guestbook));
	greet(&message);
	report_guestbook(&message.report);
	memcpy(argument, &message, sizeof(message));
}
