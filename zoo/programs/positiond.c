/* A position keeper: a table of 384 MiB that is updated all over, and a child forked ten times a second that has the
 * table as it was and writes a digest of its head away. Models copy-on-write after a large parent forks.
 * usage: PROGRAM */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROWS (384u << 20 >> 6)

struct row {
    uint64_t account, amount, version[6];
};

static struct row *table;

__attribute__((noinline)) static void apply_update(uint64_t key) {
    struct row *row = &table[key % ROWS];
    row->amount += key;
    row->version[0]++;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static pid_t take_snapshot(void) {
    pid_t child = fork();
    if (child == 0) {
        volatile uint64_t digest = 0;
        for (unsigned row = 0; row < 4096; row++) digest = digest * 3 + table[row].amount;
        usleep(50000);
        _exit(0);
    }
    return child;
}

int main(void) {
    table = mmap(NULL, ROWS * sizeof *table, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (table == MAP_FAILED) return 1;
    for (uint64_t row = 0; row < ROWS; row++) table[row].account = row;
    uint64_t key = 88172645463325252u;
    for (;;) {
        pid_t child = take_snapshot();
        for (double end = now() + 0.08; now() < end;)
            for (int turn = 0; turn < 64; turn++) key ^= key << 13, key ^= key >> 7, key ^= key << 17, apply_update(key);
        if (child > 0) waitpid(child, NULL, 0);
    }
}
