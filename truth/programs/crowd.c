// A crowd: three threads that compute for ever on the last CPU.
#include "lanes.h"
#include <pthread.h>
#include <stdint.h>

enum { MEMBERS = 3 };

static void *compute(void *unused) {
    for (volatile uint64_t sum = 0;;)
        sum = sum * 6364136223846793005ULL + 1;
    return unused;
}

int main(void) {
    keep_to(LAST);
    pthread_t thread;
    for (int i = 1; i < MEMBERS; i++)
        pthread_create(&thread, NULL, compute, NULL);
    compute(NULL);
}
