/* A packet capture that writes through the page cache as fast as it is taken, over a ring of 512 MiB.
 * Models a writer that dirty-page throttling paces.
 * usage: PROGRAM FILE */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE (1 << 20)

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int file = open(argv[1], O_WRONLY | O_CREAT, 0644);
    char *piece = malloc(PIECE);
    if (file < 0 || !piece) return 1;
    memset(piece, 'p', PIECE);
    for (uint64_t number = 0;; number++) {
        piece[number % PIECE]++;
        if (pwrite(file, piece, PIECE, (off_t)(number % 512 * PIECE)) != PIECE) return 1;
    }
}
