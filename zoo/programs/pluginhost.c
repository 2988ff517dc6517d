/* A plug-in host: request threads map and unmap small scratch areas, beside a cache of 1 GiB that is all resident.
 * It is the victim where somebody walks its mappings all the time; on its own it is healthy.
 * usage: PROGRAM THREADS */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CACHE (1ul << 30)
#define SCRATCH (64 << 10)

static volatile uint64_t handled;

static void *map(size_t size) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) exit(1);
    return at;
}

__attribute__((noinline)) static void handle_request(uint64_t number) {
    uint64_t *scratch = map(SCRATCH), seed = number;
    for (int i = 0; i < 20000; i++) scratch[i % 8] = seed = seed * 6364136223846793005u + 1;
    handled += scratch[3];
    munmap(scratch, SCRATCH);
}

static void *serve(void *argument) {
    for (uint64_t number = (uintptr_t)argument;; number++) handle_request(number);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    memset(map(CACHE), 1, CACHE);
    for (intptr_t i = 0; i < atoi(argv[1]); i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, (void *)i)) return 1;
    }
    pause();
}
