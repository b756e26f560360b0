/* Removes 40 files and 20 folders in FOLDER by each of the calls, and tries for as many more that
 * are not there. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int folder;

	if (argc < 2 || chdir(argv[1]))
		return 2;
	folder = open(".", O_PATH | O_DIRECTORY);
	for (int i = 0; i < 20; i++) {
		close(open("a", O_CREAT | O_WRONLY, 0600));
		close(open("b", O_CREAT | O_WRONLY, 0600));
		if (mkdir("c", 0700) || mkdir("d", 0700) || syscall(SYS_unlink, "a") ||
		    syscall(SYS_unlinkat, folder, "b", 0) || syscall(SYS_rmdir, "c") ||
		    syscall(SYS_unlinkat, AT_FDCWD, "d", AT_REMOVEDIR))
			return 1;
		if (!syscall(SYS_unlink, "a") || !syscall(SYS_unlinkat, folder, "b", 0) ||
		    !syscall(SYS_rmdir, "c") || !syscall(SYS_rmdir, "/proc"))
			return 1;
	}
	return 0;
}
