/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launch enclave: makes tokens for the signers that are compiled into it.  Who
 * changes the list gets another MRENCLAVE, and needs the key again to sign it.
 */
#include "../hello/runtime.h"
#include "cmac.h"
#include "message.h"

enum { EGETKEY = 1, EINITTOKEN_KEY = 0, RDRAND_TRIES = 10 };
#define ALL_FLAGS 0xffffffffffffffffull

struct keyrequest {
	uint16_t keyname;
	uint16_t keypolicy;
	uint16_t isvsvn;
	uint16_t reserved1;
	uint8_t cpusvn[16];
	uint64_t attributemask;
	uint64_t xfrmmask;
	uint8_t keyid[32];
	uint32_t miscmask;
	uint8_t reserved2[436];
} __attribute__((aligned(512)));
_Static_assert(sizeof(struct keyrequest) == 512, "KEYREQUEST");
_Static_assert(offsetof(struct keyrequest, miscmask) == 72, "KEYREQUEST.MISCMASK");

static const struct signer {
	uint8_t mrsigner[32];
	uint8_t may_provision;
} signers[] = {
#include "signers.inc"
	{ { 0 }, 0 },	/* the end */
};

static bool is_same(const uint8_t *a, const uint8_t *b, size_t length)
{
	while (length && *a == *b)
		a++, b++, length--;
	return !length;
}

static enum verdict judge(const struct wanted *wanted)
{
	const struct signer *end = signers + sizeof(signers) / sizeof(*signers) - 1;
	bool is_listed = false, may_provision = false;

	for (const struct signer *one = signers; one < end; one++)
		if (is_same(one->mrsigner, wanted->mrsigner, sizeof(one->mrsigner))) {
			is_listed = true;
			may_provision |= one->may_provision;
		}
	if (!is_listed)
		return VERDICT_NOT_LISTED;
	/* No token makes a launch enclave; a processor would refuse it anyway. */
	if (wanted->attributes & ATTRIBUTE_EINITTOKENKEY)
		return VERDICT_NO_EINITTOKENKEY;
	if (wanted->attributes & ATTRIBUTE_PROVISIONKEY && !may_provision)
		return VERDICT_NO_PROVISIONKEY;
	return VERDICT_TOKEN;
}

static bool random_word(uint64_t *word)
{
	uint8_t is_there = 0;

	for (int i = 0; i < RDRAND_TRIES && !is_there; i++)
		__asm__ volatile("rdrand %0; setc %1"
				 : "=r"(*word), "=qm"(is_there)
				 :
				 : "cc");
	return is_there;
}

/* What this enclave is: EREPORT for nobody in particular. */
static void look_at_ourselves(struct report *report)
{
	static struct targetinfo target;
	static uint8_t data[64] __attribute__((aligned(128)));
	static struct report made __attribute__((aligned(512)));

	__asm__ volatile("enclu"
			 :
			 : "a"(EREPORT), "b"(&target), "c"(data), "d"(&made)
			 : "memory", "cc");
	*report = made;
}

/* The key of tokens that say of us what this one does. */
static bool get_key(const struct token *token, uint8_t key[16])
{
	static struct keyrequest request;
	static uint8_t got[16] __attribute__((aligned(16)));
	uint64_t result = EGETKEY;

	memset(&request, 0, sizeof(request));
	request.keyname = EINITTOKEN_KEY;
	request.isvsvn = token->isvsvnle;
	request.attributemask = ALL_FLAGS;
	request.miscmask = UINT32_MAX;
	memcpy(request.cpusvn, token->cpusvnle, sizeof(request.cpusvn));
	memcpy(request.keyid, token->keyid, sizeof(request.keyid));
	__asm__ volatile("enclu"
			 : "+a"(result)
			 : "b"(&request), "c"(got)
			 : "memory", "cc");
	memcpy(key, got, sizeof(got));
	memset(got, 0, sizeof(got));
	return result == 0;
}

static void wipe(void *at, size_t length)
{
	memset(at, 0, length);
	__asm__ volatile("" : : "r"(at) : "memory");
}

static enum verdict make_token(const struct wanted *wanted, struct token *token)
{
	static struct report self;
	uint64_t keyid[4];
	uint8_t key[16];

	for (int i = 0; i < 4; i++)
		if (!random_word(&keyid[i]))
			return VERDICT_NO_RANDOM;
	look_at_ourselves(&self);
	token->valid = 1;
	token->attributes = wanted->attributes;
	token->xfrm = wanted->xfrm;
	memcpy(token->mrenclave, wanted->mrenclave, sizeof(token->mrenclave));
	memcpy(token->mrsigner, wanted->mrsigner, sizeof(token->mrsigner));
	memcpy(token->cpusvnle, self.cpusvn, sizeof(token->cpusvnle));
	token->isvprodidle = self.isvprodid;
	token->isvsvnle = self.isvsvn;
	token->maskedmiscselectle = self.miscselect;
	token->maskedattributesle = self.attributes;	/* but not XFRM */
	memcpy(token->keyid, keyid, sizeof(token->keyid));
	if (!get_key(token, key))
		return VERDICT_NO_KEY;
	cmac(key, token, offsetof(struct token, cpusvnle) / 16, token->mac);
	wipe(key, sizeof(key));
	return VERDICT_TOKEN;
}

void enclave_main(void *argument)
{
	static struct message message;

	if (!is_outside(argument, sizeof(message)))
		return;
	/* One copy in, one copy out: the host may write while we think. */
	memset(&message, 0, sizeof(message));
	memcpy(&message.wanted, argument, sizeof(message.wanted));
	message.verdict = judge(&message.wanted);
	if (message.verdict == VERDICT_TOKEN)
		message.verdict = make_token(&message.wanted, &message.token);
	if (message.verdict != VERDICT_TOKEN)
		memset(&message.token, 0, sizeof(message.token));
	memcpy(argument, &message, sizeof(message));
}
