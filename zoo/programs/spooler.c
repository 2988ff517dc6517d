/* A spooler that appends a job of 256 KiB to its spool, and where that cannot be tries again a little later, as long as it
 * takes. Models a program on a file system without space.
 * usage: PROGRAM FILE */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define JOB (256 << 10)

static uint8_t job[JOB];

__attribute__((noinline)) static void render_job(uint64_t seed) {
    for (int i = 0; i < JOB; i++) job[i] = (uint8_t)(seed = seed * 6364136223846793005u + 1);
}

__attribute__((noinline)) static void spool_job(int spool) {
    for (int stored = 0; stored < JOB;) {
        ssize_t wrote = write(spool, job + stored, (size_t)(JOB - stored));
        if (wrote > 0) stored += (int)wrote;
        else if (errno == ENOSPC) usleep(5000);
        else exit(1);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int spool = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (spool < 0) return 1;
    for (uint64_t number = 0;; number++) render_job(number), spool_job(spool);
}
