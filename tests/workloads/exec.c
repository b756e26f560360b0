/* Starts programs: itself with many arguments, a script, a file that is not there and one that is
 * no program, by path and by descriptor. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void start(const char *file, char *const *args, int flags)
{
	int pid = fork();

	if (!pid) {
		int folder = flags ? open(file, O_RDONLY) : AT_FDCWD;

		syscall(SYS_execveat, folder, flags ? "" : file, args, NULL, flags);
		_exit(7);
	}
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	static char big[20000];
	char *many[] = {argv[0], "one", "", "two words", "a\nb\x1b[31m\xff", NULL};
	char *large[] = {argv[0], big, "last", NULL};
	char *script[] = {"script", "x", NULL};

	if (argc > 1 && !strcmp(argv[1], "script")) {
		for (int i = 0; i < 5; i++)
			start(argv[2], script, 0);
		return 0;
	}
	if (argc > 1)
		return 0;
	memset(big, 'x', sizeof(big) - 1);
	for (int i = 0; i < 5; i++) {
		start(argv[0], many, 0);
		start(argv[0], large, AT_EMPTY_PATH);
		start("/not/there", script, 0);
		start("/etc/passwd", script, 0);
	}
	return 0;
}
