/* What a program starts with, printed for comparison: limits, signals, names. */
#include "check.h"
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void limits(void)
{
	for (int which = 0; which < RLIM_NLIMITS; which++) {
		struct rlimit limit;

		CHECK(getrlimit(which, &limit) == 0);
		printf("limit %d: %llu %llu\n", which, (unsigned long long)limit.rlim_cur,
		       (unsigned long long)limit.rlim_max);
	}
}

static void from_status(void)
{
	static const char *const wanted[] = {
		"Umask:", "TracerPid:", "Uid:", "Gid:", "Threads:", "SigPnd:",
		"ShdPnd:", "SigBlk:", "SigIgn:", "CapEff:",
	};
	char line[512];
	FILE *file = fopen("/proc/self/status", "r");

	CHECK(file != NULL);
	while (fgets(line, sizeof(line), file))
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
			if (!strncmp(line, wanted[i], strlen(wanted[i])))
				fputs(line, stdout);
	fclose(file);
}

int main(void)
{
	char name[32] = { 0 };

	limits();
	from_status();
	CHECK(prctl(PR_GET_NAME, name) == 0);
	printf("name %s\n", name);
	printf("dumpable %d\n", prctl(PR_GET_DUMPABLE));
	printf("parent's death %d\n", ({ int s = -1; prctl(PR_GET_PDEATHSIG, &s); s; }));
	printf("nice %d\n", getpriority(PRIO_PROCESS, 0));
	return 0;
}
