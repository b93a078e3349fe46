/* A report that its target can check, and keys: prints what another run on the same
 * platform must print too.  Words: `report` prints the report as well, and with a key id
 * in hex the key of another run's; `provision` the provisioning key alone. */
#include "host.h"

#define PROVISION_KEY 1
#define REPORT_KEY 3
#define SEAL_KEY 4
#define MRENCLAVE_POLICY 1
#define BODY 384	/* bytes of a REPORT that the MAC covers */

struct keyrequest {
	uint16_t keyname, keypolicy, isvsvn, cet;
	uint8_t cpusvn[16];
	uint64_t attributemask[2];
	uint8_t keyid[32];
	uint32_t miscmask;
	uint8_t rest[436];
};
_Static_assert(sizeof(struct keyrequest) == 512, "KEYREQUEST");

static struct enclave e;

static void key(const struct keyrequest *request, uint8_t out[16])
{
	struct op op = { .what = DO_KEY };

	memcpy(op.data, request, sizeof(*request));
	vdso_do(host_tcs(&e, 0), &op);
	CHECK(op.result == 0);
	memcpy(out, op.data, 16);
}

static struct report report(const struct targetinfo *target)
{
	struct op op = { .what = DO_REPORT, .value = 0x42 };
	struct report made;

	memcpy(op.data, target, sizeof(*target));
	vdso_do(host_tcs(&e, 0), &op);
	memcpy(&made, op.data, sizeof(made));
	return made;
}

static void print(const char *name, const uint8_t *bytes, int size)
{
	printf("%s ", name);
	for (int i = 0; i < size; i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

static int provision(void)
{
	struct keyrequest request = { .keyname = PROVISION_KEY };
	struct targetinfo target = { 0 };
	struct report self;
	uint8_t made[16];

	e = host_load("provision");
	self = report(&target);
	memcpy(request.cpusvn, self.cpusvn, 16);
	key(&request, made);
	print("provision", made, 16);
	return 0;
}

static void from_hex(const char *digits, uint8_t *bytes, int size)
{
	for (int i = 0; i < size; i++)
		CHECK(sscanf(digits + 2 * i, "%2hhx", &bytes[i]) == 1);
}

int main(int argc, char **argv)
{
	struct keyrequest request = { .keyname = SEAL_KEY,
				      .keypolicy = MRENCLAVE_POLICY };
	struct targetinfo target = { 0 };
	struct report first, second;
	uint8_t seal[16], again[16], reporting[16];

	if (argc > 1 && !strcmp(argv[1], "provision"))
		return provision();
	e = host_load("3");
	first = report(&target);
	memcpy(target.measurement, first.mrenclave, 32);
	target.attributes = first.attributes;
	target.xfrm = first.xfrm;
	second = report(&target);
	CHECK(memcmp(&first, &second, BODY) == 0);
	CHECK(memcmp(first.mac, second.mac, 16) != 0);	/* for another target */
	CHECK(second.reportdata[0] == 0x42 && second.reportdata[63] == 0x42);
	memcpy(request.cpusvn, second.cpusvn, 16);
	key(&request, seal);
	key(&request, again);
	CHECK(memcmp(seal, again, 16) == 0);
	request.keyid[0] = 1;
	key(&request, again);
	CHECK(memcmp(seal, again, 16) != 0);
	/* The target's report key: what the MAC of `second` was made with. */
	request.keyname = REPORT_KEY;
	request.keypolicy = 0;
	memcpy(request.keyid, second.keyid, 32);
	if (argc > 2)
		from_hex(argv[2], request.keyid, 32);
	key(&request, reporting);
	print("seal", seal, 16);
	print("mrenclave", second.mrenclave, 32);
	if (argc > 1) {	/* These change from run to run. */
		print("report", (uint8_t *)&second, sizeof(second));
		print("reportkey", reporting, 16);
	}
	return 0;
}
