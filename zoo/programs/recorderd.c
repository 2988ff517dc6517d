/* A recorder: eight camera threads write their frames of 4 MiB into one shared ring file, each in its own part.
 * Models writers of one file that wait for its inode's lock.
 * usage: PROGRAM FILE */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CAMERAS 8
#define FRAME (4 << 20)

static int ring;

__attribute__((noinline)) static void store_frame(const char *frame, off_t at) {
    if (pwrite(ring, frame, FRAME, at) != FRAME) exit(1);
}

static void *record(void *argument) {
    intptr_t camera = (intptr_t)argument;
    char *frame = malloc(FRAME);
    if (!frame) exit(1);
    memset(frame, (int)camera, FRAME);
    for (uint64_t number = 0;; number++) {
        frame[number % FRAME]++;
        store_frame(frame, (off_t)(camera * 4 + number % 4) * FRAME);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    ring = open(argv[1], O_RDWR | O_CREAT, 0644);
    if (ring < 0) return 1;
    for (intptr_t camera = 0; camera < CAMERAS; camera++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, record, (void *)camera)) return 1;
    }
    pause();
}
