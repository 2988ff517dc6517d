/* A poster renderer: it draws row after row of a large picture in memory, then starts the next. Where it may not have
 * that much memory, it is killed on the way.
 * usage: PROGRAM MEGABYTES */
#include <stdint.h>
#include <stdlib.h>

#define ROW (64 << 10)

static volatile uint64_t inked;

__attribute__((noinline)) static void draw_row(uint64_t *row, uint64_t seed) {
    for (int turn = 0; turn < 8; turn++)
        for (int i = 0; i < ROW / 8; i++) row[i] = seed = seed * 6364136223846793005u + row[i];
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    size_t rows = strtoull(argv[1], NULL, 10) << 4;
    for (uint64_t poster = 0;; poster++) {
        uint8_t *picture = malloc(rows * ROW);
        if (!picture) return 1;
        for (size_t row = 0; row < rows; row++) draw_row((uint64_t *)(picture + row * ROW), poster + row);
        inked += picture[rows * ROW / 2];
        free(picture);
    }
}
