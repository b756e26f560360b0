/* A program with a readline() of its own: COUNT lines, and then the end of input. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((noinline)) char *readline(const char *prompt)
{
	static int number;
	char *line = malloc(6000);

	if (++number > atoi(prompt)) {
		free(line);
		return NULL;
	}
	if (number == 3)
		memset(line, 'x', 5999), line[5999] = 0;
	else
		sprintf(line, "line %d \x1b[31m\xff", number);
	return line;
}

int main(int argc, char **argv)
{
	int count = 0;
	char *line;

	while (argc > 1 && (line = readline(argv[1]))) {
		free(line);
		count++;
	}
	printf("%d\n", count);
	return 0;
}
