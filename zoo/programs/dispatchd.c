/* Dispatches parcels: each becomes durable on its own, and after every few the program pauses by its own timer, although
 * more is there. The file is reused from the start at 16 MiB.
 * usage: PROGRAM FILE PARCELS PAUSE_MICROSECONDS */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

__attribute__((noinline)) static int record_parcel(int file, uint64_t number) {
    char line[257];
    snprintf(line, sizeof line, "%0256llu", (unsigned long long)number);
    off_t at = (off_t)(number * 256 % (16 << 20));
    return pwrite(file, line, 256, at) == 256 && !fsync(file);
}

__attribute__((noinline)) static void hold_back(long pause_us) {
    struct timespec turn = {.tv_nsec = pause_us * 1000};
    nanosleep(&turn, NULL);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int file = open(argv[1], O_RDWR | O_CREAT, 0644);
    if (file < 0) return 1;
    for (uint64_t number = 1;; number++) {
        if (!record_parcel(file, number)) return 1;
        if (number % atoi(argv[2]) == 0) hold_back(atol(argv[3]));
    }
}
