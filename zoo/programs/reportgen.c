/* A batch job that sorts and sums, on as many threads as it is told, without pause: the neighbour that takes the CPUs.
 * usage: PROGRAM THREADS */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define ROWS 65536

static int by_amount(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

__attribute__((noinline)) static uint64_t quarterly_totals(uint32_t *rows, uint64_t seed) {
    for (int i = 0; i < ROWS; i++) rows[i] = (uint32_t)((seed = seed * 6364136223846793005u + 1) >> 32);
    qsort(rows, ROWS, sizeof *rows, by_amount);
    for (int i = 0; i < ROWS; i += 4) seed += rows[i];
    return seed;
}

static void *region(void *argument) {
    uint32_t *rows = malloc(ROWS * sizeof *rows);
    for (uint64_t seed = (uint64_t)(intptr_t)argument;;) seed = quarterly_totals(rows, seed);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    for (intptr_t i = atoi(argv[1]); i > 0; i--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, region, (void *)i)) return 1;
    }
    for (;;) pause();
}
