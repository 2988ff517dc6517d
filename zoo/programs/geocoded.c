/* An address look-up over a mapped file far larger than what has been read of it: every look-up touches one page of it
 * somewhere. Models file pages that have to come from the disk on first touch.
 * usage: PROGRAM FILE */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

static volatile uint64_t found;

__attribute__((noinline)) static uint64_t look_up(const uint8_t *map, uint64_t at) {
    const uint64_t *cell = (const uint64_t *)(map + at);
    uint64_t sum = 0;
    for (int i = 0; i < 128; i++) sum = sum * 31 + cell[i];
    return sum;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int file = open(argv[1], O_RDONLY);
    struct stat status;
    if (file < 0 || fstat(file, &status)) return 1;
    uint8_t *map = mmap(NULL, status.st_size, PROT_READ, MAP_SHARED, file, 0);
    if (map == MAP_FAILED || madvise(map, status.st_size, MADV_RANDOM)) return 1;
    for (uint64_t key = 88172645463325252u;;) {
        key ^= key << 13, key ^= key >> 7, key ^= key << 17;
        found += look_up(map, key % (status.st_size / 4096) * 4096);
    }
}
