/* Shells and pipelines started from the program. */
#include "check.h"

int main(void)
{
	char text[128] = { 0 };
	FILE *pipe;
	int status;

	pipe = popen("printf 'b\\na\\n' | sort | tr a-z A-Z | (cat; echo end)", "r");
	CHECK(pipe != NULL);
	CHECK(fread(text, 1, sizeof(text) - 1, pipe) > 0);
	CHECK(pclose(pipe) == 0);
	CHECK(strcmp(text, "A\nB\nend\n") == 0);
	status = system("exit 19");
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 19);
	status = system("for i in 1 2 3 4 5; do (exit $i) || true; done; kill -9 $$");
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CHECK(system("x=$(echo $(echo $(echo deep))); test $x = deep") == 0);
	return 0;
}
