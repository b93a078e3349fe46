/* Arguments, environment and /proc/self are the program's own, nothing added. */
#include "check.h"
#include <fcntl.h>
#include <sys/auxv.h>

extern char **environ;
static char big[100001];

static void is_whole(int argc, char **argv)
{
	char raw[64] = { 0 }, path[4096] = { 0 };
	int fd = open("/proc/self/cmdline", O_RDONLY);

	CHECK(argc == 5);
	CHECK(!strcmp(argv[0], "an odd name") && !strcmp(argv[1], ""));
	CHECK(!strcmp(argv[2], "a b\n\"$x'") && strlen(argv[3]) == sizeof(big) - 1);
	CHECK(!strcmp(argv[4], "--") && argv[5] == NULL);
	CHECK(environ[0] && !strcmp(environ[0], "ONE=1"));
	CHECK(environ[1] && !strcmp(environ[1], "EMPTY="));
	CHECK(environ[2] && !strcmp(environ[2], "noequals") && environ[3] == NULL);
	CHECK(read(fd, raw, 32) == 32);
	CHECK(!strcmp(raw, "an odd name") && raw[12] == 0 && !strncmp(raw + 13, "a b", 3));
	CHECK(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
	CHECK(path[0] == '/' && strstr(path, "arguments") != NULL);
	CHECK(getauxval(AT_EXECFN) != 0);
	CHECK(!strcmp((char *)getauxval(AT_EXECFN), "/proc/self/exe"));
}

int main(int argc, char **argv)
{
	char *words[] = { "an odd name", "", "a b\n\"$x'", big, "--", NULL };
	char *variables[] = { "ONE=1", "EMPTY=", "noequals", NULL };

	if (argc > 1) {
		is_whole(argc, argv);
		return 0;
	}
	for (int i = 0; environ[i]; i++)
		CHECK(strncmp(environ[i], "LD_", 3) != 0);
	memset(big, 'b', sizeof(big) - 1);
	execve("/proc/self/exe", words, variables);
	return 1;
}
