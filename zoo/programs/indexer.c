/* A search engine's intake: four threads take documents in and leave each to the one thread that may change the index,
 * then wait until it is done. Models a pool that waits for one thread while CPUs idle.
 * usage: PROGRAM */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#define READERS 4

static pthread_mutex_t door = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER, emptied = PTHREAD_COND_INITIALIZER;
static uint64_t waiting[READERS];
static volatile uint64_t postings;

__attribute__((noinline)) static uint64_t read_document(uint64_t number) {
    for (int i = 0; i < 20000; i++) number = number * 6364136223846793005u + 1;
    return number | 1;
}

__attribute__((noinline)) static void add_postings(uint64_t document) {
    for (int i = 0; i < 400000; i++) document = document * 6364136223846793005u + 1;
    postings += document;
}

static void *take_in(void *argument) {
    intptr_t reader = (intptr_t)argument;
    for (uint64_t number = 0;; number++) {
        uint64_t document = read_document(number);
        pthread_mutex_lock(&door);
        waiting[reader] = document;
        pthread_cond_signal(&filled);
        while (waiting[reader]) pthread_cond_wait(&emptied, &door);
        pthread_mutex_unlock(&door);
    }
}

static void *change_index(void *argument) {
    for (int turn = 0;; turn = (turn + 1) % READERS) {
        pthread_mutex_lock(&door);
        for (int looked = 0; !waiting[turn]; looked++, turn = (turn + 1) % READERS)
            if (looked == READERS) looked = -1, pthread_cond_wait(&filled, &door);
        uint64_t document = waiting[turn];
        pthread_mutex_unlock(&door);
        add_postings(document);
        pthread_mutex_lock(&door);
        waiting[turn] = 0;
        pthread_cond_broadcast(&emptied);
        pthread_mutex_unlock(&door);
    }
    return argument;
}

int main(void) {
    pthread_t thread;
    for (intptr_t reader = 0; reader < READERS; reader++) {
        if (pthread_create(&thread, NULL, take_in, (void *)reader)) return 1;
        pthread_setname_np(thread, "intake");
    }
    if (pthread_create(&thread, NULL, change_index, NULL)) return 1;
    pthread_setname_np(thread, "postings");
    pthread_join(thread, NULL);
}
