/* An archiver that reads a large file past the page cache with many requests in flight: it fills the disk's queue.
 * usage: PROGRAM FILE IN_FLIGHT */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (512 * 1024)

static int file;
static off_t size;

static void *stream(void *argument) {
    uint64_t at = (uint64_t)(intptr_t)argument * 7919;
    void *piece;
    if (posix_memalign(&piece, 4096, PIECE)) exit(1);
    for (;; at = at * 6364136223846793005u + 1442695040888963407u)
        if (pread(file, piece, PIECE, (off_t)((at >> 16) % (size / PIECE) * PIECE)) != PIECE) exit(1);
}

int main(int argc, char **argv) {
    struct stat status;
    if (argc != 3 || (file = open(argv[1], O_RDONLY | O_DIRECT)) < 0 || fstat(file, &status)) return 2;
    size = status.st_size;
    for (intptr_t i = atoi(argv[2]); i > 0; i--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, stream, (void *)i)) return 1;
    }
    for (;;) pause();
}
