/* A calendar of appointments: the desk takes its mutex for a moment each time, the planner for long stretches, in which it
 * looks for gaps and waits for what it has sent. Models a lock that is held too long.
 * usage: PROGRAM */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

static pthread_mutex_t calendar = PTHREAD_MUTEX_INITIALIZER;
static volatile uint64_t days[4096];

__attribute__((noinline)) static void find_gaps(int turns) {
    for (int turn = 0; turn < turns; turn++)
        for (int i = 0; i < 4096; i++) days[i] = days[i] * 3 + turn;
}

__attribute__((noinline)) static void print_ticket(uint64_t number) {
    volatile uint64_t ticket = number;
    for (int i = 0; i < 2500000; i++) ticket = ticket * 31 + 7;
}

static void *planner(void *argument) {
    (void)argument;
    pthread_setname_np(pthread_self(), "planner");
    for (;;) {
        pthread_mutex_lock(&calendar);
        find_gaps(400);
        usleep(10000);
        pthread_mutex_unlock(&calendar);
        usleep(8000);
    }
    return NULL;
}

static void *desk(void *argument) {
    (void)argument;
    pthread_setname_np(pthread_self(), "desk");
    for (uint64_t number = 0;; number++) {
        pthread_mutex_lock(&calendar);
        find_gaps(2);
        pthread_mutex_unlock(&calendar);
        print_ticket(number);
    }
    return NULL;
}

int main(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, planner, NULL) || pthread_create(&thread, NULL, desk, NULL)) return 1;
    for (;;) pause();
}
