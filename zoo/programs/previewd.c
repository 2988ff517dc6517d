/* A preview service that reads a file which is in the page cache, in short bursts at a modest, steady pace. Healthy.
 * usage: PROGRAM FILE */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

static char piece[1 << 17];

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int file = open(argv[1], O_RDONLY);
    if (file < 0) return 1;
    struct timespec next;
    for (clock_gettime(CLOCK_MONOTONIC, &next);;) {
        for (int i = 0; i < 48; i++)
            if (read(file, piece, sizeof piece) <= 0) lseek(file, 0, SEEK_SET);
        next.tv_nsec += 50 * 1000 * 1000;
        if (next.tv_nsec >= 1000000000) next.tv_sec++, next.tv_nsec -= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}
