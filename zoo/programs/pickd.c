/* A spare-parts catalogue: it reads one record of 4 KiB at a time, in no order, through the page cache, with a little work
 * on each. It is the victim where the catalogue does not stay cached; with it cached it is quick.
 * usage: PROGRAM FILE */
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

static volatile uint64_t picked;

__attribute__((noinline)) static int pick_part(int file, uint64_t at) {
    uint64_t record[512], sum = 0;
    if (pread(file, record, sizeof record, (off_t)at) != sizeof record) return 0;
    for (int i = 0; i < 512; i++) sum = sum * 31 + record[i];
    picked += sum;
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int file = open(argv[1], O_RDONLY);
    struct stat status;
    if (file < 0 || fstat(file, &status)) return 1;
    posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM);
    for (uint64_t key = 88172645463325252u;;) {
        key ^= key << 13, key ^= key >> 7, key ^= key << 17;
        if (!pick_part(file, key % (status.st_size / 4096) * 4096)) return 1;
    }
}
