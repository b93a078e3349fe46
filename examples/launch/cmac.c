/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-128 of FIPS 197, and CMAC over whole blocks.  The S-box is calculated: a table would
 * show its host, by the cache, where in it the key leads.  It is slow, and a token has
 * twelve blocks.
 */
#include "cmac.h"

enum { BLOCK = 16, ROUNDS = 10 };

/* The product in GF(2^8), in the same steps for any operands. */
static uint8_t times(uint8_t a, uint8_t b)
{
	uint8_t product = 0;

	for (int bit = 0; bit < 8; bit++) {
		product ^= (uint8_t)(a & -(b >> bit & 1));
		a = (uint8_t)(a << 1 ^ (0x1b & -(a >> 7)));
	}
	return product;
}

static uint8_t rotl(uint8_t x, int n)
{
	return (uint8_t)(x << n | x >> (8 - n));
}

static uint8_t sbox(uint8_t x)
{
	uint8_t power = x;

	/* The inverse is the 254th power, and that of 0 is 0. */
	for (int i = 0; i < 6; i++)
		power = times(times(power, power), x);
	x = times(power, power);
	return x ^ rotl(x, 1) ^ rotl(x, 2) ^ rotl(x, 3) ^ rotl(x, 4) ^ 0x63;
}

static void add(uint8_t to[BLOCK], const uint8_t from[BLOCK])
{
	for (int i = 0; i < BLOCK; i++)
		to[i] ^= from[i];
}

static void next_key(uint8_t key[BLOCK], uint8_t constant)
{
	for (int i = 0; i < 4; i++)
		key[i] ^= sbox(key[12 + (i + 1) % 4]);
	key[0] ^= constant;
	for (int i = 4; i < BLOCK; i++)
		key[i] ^= key[i - 4];
}

static void substitute_and_shift(uint8_t state[BLOCK])
{
	uint8_t old[BLOCK];

	for (int i = 0; i < BLOCK; i++)
		old[i] = sbox(state[i]);
	for (int i = 0; i < BLOCK; i++)
		state[i] = old[(i + 4 * (i % 4)) % BLOCK];
}

static void mix_columns(uint8_t state[BLOCK])
{
	for (uint8_t *column = state; column < state + BLOCK; column += 4) {
		uint8_t all = column[0] ^ column[1] ^ column[2] ^ column[3];
		uint8_t first = column[0];

		for (int i = 0; i < 4; i++) {
			uint8_t next = i < 3 ? column[i + 1] : first;

			column[i] ^= (uint8_t)(all ^ times(2, column[i] ^ next));
		}
	}
}

static void encrypt(const uint8_t key[BLOCK], uint8_t state[BLOCK])
{
	uint8_t round_key[BLOCK], constant = 1;

	for (int i = 0; i < BLOCK; i++)
		round_key[i] = key[i];
	add(state, round_key);
	for (int round = 1; round <= ROUNDS; round++) {
		substitute_and_shift(state);
		if (round < ROUNDS)
			mix_columns(state);
		next_key(round_key, constant);
		constant = times(2, constant);
		add(state, round_key);
	}
}

void cmac(const uint8_t key[16], const void *data, size_t blocks, uint8_t mac[16])
{
	uint8_t subkey[BLOCK] = { 0 }, top;

	encrypt(key, subkey);
	top = subkey[0] >> 7;
	for (int i = 0; i < BLOCK - 1; i++)
		subkey[i] = (uint8_t)(subkey[i] << 1 | subkey[i + 1] >> 7);
	subkey[BLOCK - 1] = (uint8_t)(subkey[BLOCK - 1] << 1 ^ (0x87 & -top));
	for (int i = 0; i < BLOCK; i++)
		mac[i] = 0;
	for (size_t block = 0; block < blocks; block++) {
		add(mac, (const uint8_t *)data + block * BLOCK);
		if (block == blocks - 1)
			add(mac, subkey);
		encrypt(key, mac);
	}
}
