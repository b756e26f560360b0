/* Opens a known number of files: COUNT in FOLDER, of which every tenth is not there. Each of the
 * four system calls takes its turn. With a time in seconds instead of nothing, as fast as it can
 * until then, always the same file, and says how often. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static int open_by(int call, int folder, const char *name)
{
	struct open_how how = {.flags = O_RDONLY};
	char path[64];

	switch (call) {
	case 0:
		return syscall(SYS_open, name, O_RDONLY);
	case 1:
		return syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
	case 2:
		snprintf(path, sizeof(path), "../%s", name);
		return syscall(SYS_openat2, folder, path, &how, sizeof(how));
	default:
		snprintf(path, sizeof(path), "new-%s/x", name);
		return syscall(SYS_creat, name[0] == 'n' ? path : "created", 0640);
	}
}

static void storm(double seconds)
{
	double end = now() + seconds;
	unsigned long count = 0;

	while (now() < end) {
		for (int i = 0; i < 100; i++, count++)
			close(open("file", O_RDONLY));
	}
	printf("%lu\n", count);
}

int main(int argc, char **argv)
{
	int count = argc > 2 ? atoi(argv[2]) : 0, folder;

	if (argc < 3 || chdir(argv[1]))
		return 2;
	if (argc > 3) {
		storm(atof(argv[3]));
		return 0;
	}
	folder = open("inside", O_PATH);
	for (int i = 0; i < count; i++) {
		int fails = i % 10 == 9;
		int file = open_by(i / 10 % 4, folder, fails ? "not-there" : "file");

		if (fails != (file < 0) || (fails && errno != ENOENT)) {
			fprintf(stderr, "%d: %s\n", i, strerror(errno));
			return 1;
		}
		close(file);
	}
	return 0;
}
