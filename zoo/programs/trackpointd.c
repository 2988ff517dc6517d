/* A gateway that appends every position it is told to the day's track, in plain writes.
 * usage: PROGRAM FOLDER */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* The track is begun anew before it fills its volume. */
#define LONGEST (8 << 20)

static void append_position(int track, unsigned number)
{
	char line[96];
	int length = snprintf(line, sizeof(line), "%u 47.%06u 8.%06u 420\n", number, number * 7919u % 1000000u,
			      number * 104729u % 1000000u);

	if (write(track, line, length) != length)
		exit(1);
}

int main(int argc, char **argv)
{
	char path[4096];
	unsigned number = 0;
	int track;

	if (argc < 2)
		return 2;
	snprintf(path, sizeof(path), "%s/track", argv[1]);
	track = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (track < 0)
		return 1;
	for (;;) {
		append_position(track, number++);
		if (lseek(track, 0, SEEK_END) > LONGEST && ftruncate(track, 0))
			return 1;
	}
}
