/* A transaction log: every small record is written and made durable before the next; the file is reused from the start
 * at 16 MiB. Models a program that waits for its own commits while the disk has nothing else to do.
 * usage: PROGRAM FILE */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static char record[256];

__attribute__((noinline)) static void format_record(uint64_t number) {
    uint64_t state = number;
    for (int turn = 0; turn < 10; turn++)
        for (unsigned i = 0; i < sizeof record; i++) record[i] = (char)('0' + (state = state * 6364136223846793005u + 1) % 10);
}

__attribute__((noinline)) static int commit(int file, uint64_t number) {
    off_t at = (off_t)(number * sizeof record % (16 << 20));
    return pwrite(file, record, sizeof record, at) == sizeof record && !fsync(file);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int file = open(argv[1], O_RDWR | O_CREAT, 0644);
    if (file < 0) return 1;
    for (uint64_t number = 0;; number++) {
        format_record(number);
        if (!commit(file, number)) return 1;
    }
}
