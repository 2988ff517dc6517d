/* A stock service: four order threads take the shelf's mutex briefly; the inventory thread takes it for long stretches,
 * in which it counts for a while and waits for its scanner for a while.
 * Models threads that wait for a lock that one of them holds too long.
 * usage: PROGRAM */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

static pthread_mutex_t shelf = PTHREAD_MUTEX_INITIALIZER;
static volatile uint64_t stock[4096];

__attribute__((noinline)) static void count_shelf(int turns) {
    for (int turn = 0; turn < turns; turn++)
        for (int i = 0; i < 4096; i++) stock[i] = stock[i] * 3 + turn;
}

static void *inventory(void *argument) {
    (void)argument;
    pthread_setname_np(pthread_self(), "inventory");
    for (;;) {
        pthread_mutex_lock(&shelf);
        count_shelf(2000);
        usleep(20000);
        pthread_mutex_unlock(&shelf);
        usleep(4000);
    }
    return NULL;
}

static void *order(void *argument) {
    (void)argument;
    pthread_setname_np(pthread_self(), "order");
    for (uint64_t item = 0;; item++) {
        pthread_mutex_lock(&shelf);
        count_shelf(4);
        pthread_mutex_unlock(&shelf);
        volatile uint64_t slip = item;
        for (int i = 0; i < 200000; i++) slip = slip * 31 + 7;
        usleep(300);
    }
    return NULL;
}

int main(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, inventory, NULL)) return 1;
    for (int i = 0; i < 4; i++)
        if (pthread_create(&thread, NULL, order, NULL)) return 1;
    for (;;) pause();
}
