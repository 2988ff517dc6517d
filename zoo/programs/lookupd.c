/* An index look-up: one random read of 16 KiB at a time past the page cache, a little work on each, counted and paced by
 * nothing else. It is the victim in the scenario about a busy disk: on its own it gets its answers quickly.
 * usage: PROGRAM FILE */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECE 16384

static volatile uint64_t hits;

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int file = open(argv[1], O_RDONLY | O_DIRECT);
    off_t size = lseek(file, 0, SEEK_END);
    uint64_t *page;
    if (size < PIECE || posix_memalign((void **)&page, 4096, PIECE)) return 1;
    for (uint64_t key = 88172645463325252u;;) {
        key ^= key << 13, key ^= key >> 7, key ^= key << 17;
        if (pread(file, page, PIECE, (off_t)(key % (uint64_t)(size / PIECE) * PIECE)) != PIECE) return 1;
        uint64_t sum = 0;
        for (int turn = 0; turn < 40; turn++)
            for (int i = 0; i < PIECE / 8; i++) sum = sum * 3 + page[i];
        hits = sum;
    }
}
