// Items of work: the first thread computes its part of each while helpers do theirs, and waits for them at the end of it.
// OWN is how much it computes in an item, in steps of some microseconds. usage: PROGRAM ITEMS
#include "clock.h"
#include <pthread.h>
#include <semaphore.h>

// What a helper does in each item, and for how many microseconds of that it waited for what may be removed.
static int64_t help(int helper);

static sem_t begun[HELPERS], done;
static int64_t waited[HELPERS];

// Computes a fixed amount.
static inline void steps(int count) {
    static __thread volatile uint64_t sum;
    for (int i = 0; i < count * 3000; i++)
        sum = sum * 6364136223846793005ULL + i;
}

static void *helper(void *number) {
    for (int self = (int)(intptr_t)number;;) {
        sem_wait(&begun[self]);
        waited[self] += help(self);
        sem_post(&done);
    }
    return NULL;
}

int main(int count, char **words) {
    if (count < 2)
        return 1;
    sem_init(&done, 0, 0);
    for (int i = 0; i < HELPERS; i++) {
        pthread_t thread;
        sem_init(&begun[i], 0, 0);
        pthread_create(&thread, NULL, helper, (void *)(intptr_t)i);
    }
    int64_t start = now_us(), most = 0;
    for (long item = atol(words[1]); item > 0; item--) {
        for (int i = 0; i < HELPERS; i++)
            sem_post(&begun[i]);
        steps(OWN);
        for (int i = 0; i < HELPERS; i++)
            sem_wait(&done);
    }
    int64_t job = now_us() - start;
    for (int i = 0; i < HELPERS; i++)
        most = waited[i] > most ? waited[i] : most;
    fprintf(stderr, "waited %lld\njob %lld\n", (long long)most, (long long)job);
}
