/* A dictionary service: a table of many megabytes of its own memory, looked up all over, with a little work on each word.
 * On its own, with its memory resident, it is healthy.
 * usage: PROGRAM MEGABYTES */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

static volatile uint64_t meaning;

__attribute__((noinline)) static uint64_t look_up(const uint64_t *page) {
    uint64_t sum = 0;
    for (int turn = 0; turn < 4; turn++)
        for (int i = 0; i < 512; i++) sum = sum * 31 + page[i];
    return sum;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    uint64_t pages = strtoull(argv[1], NULL, 10) * 256, key = 88172645463325252u;
    uint64_t *table = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (table == MAP_FAILED) return 1;
    for (uint64_t i = 0; i < pages * 512; i++) table[i] = key ^= key << 13, key ^= key >> 7, key ^= key << 17;
    for (;;) {
        key ^= key << 13, key ^= key >> 7, key ^= key << 17;
        meaning = look_up(table + key % pages * 512);
    }
}
