/* A map tile server: one thread a CPU rates tiles, and a keeper that makes a page of the tile index writable, changes it
 * and seals it again, all the time. Models address-space changes that interrupt the other CPUs of a process.
 * usage: PROGRAM THREADS */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

static uint64_t *tile_index;
static volatile uint64_t rated;

__attribute__((noinline)) static uint64_t rate_tile(uint64_t seed) {
    for (int i = 0; i < 512; i++) seed = seed * 6364136223846793005u + tile_index[(seed >> 40) % 512];
    return seed;
}

static void *rate(void *argument) {
    for (uint64_t seed = (uintptr_t)argument;;) rated = seed = rate_tile(seed);
}

__attribute__((noinline)) static void update_index(uint64_t number) {
    if (mprotect(tile_index, 4096, PROT_READ | PROT_WRITE)) exit(1);
    tile_index[number % 512] = number;
    if (mprotect(tile_index, 4096, PROT_READ)) exit(1);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    tile_index = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (tile_index == MAP_FAILED) return 1;
    for (intptr_t i = 1; i < atoi(argv[1]); i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, rate, (void *)i)) return 1;
    }
    for (uint64_t number = 0;; number++) update_index(number);
}
