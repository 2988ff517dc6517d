/* A sound mixer whose threads, one for each CPU, run for most of every tenth of a second. Started in a real-time class
 * it goes before everything else.
 * usage: PROGRAM THREADS */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static volatile uint64_t mixed;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

__attribute__((noinline)) static void mix_period(double length) {
    for (double end = now() + length; now() < end;)
        for (int i = 0; i < 20000; i++) mixed = mixed * 6364136223846793005u + 1;
}

static void *mix(void *argument) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET((intptr_t)argument, &cpus);
    pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus);
    for (;;) {
        mix_period(0.075);
        usleep(25000);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    for (intptr_t i = 0; i < atoi(argv[1]); i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, mix, (void *)i)) return 1;
    }
    pause();
}
