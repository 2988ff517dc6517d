/* An upload service with one thread an upload, which takes its time over a slow line; where a thread cannot be had it asks
 * again. Models a limit on the number of tasks.
 * usage: PROGRAM */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

static void *receive_upload(void *argument) {
    usleep(400000 + (useconds_t)(uintptr_t)argument % 5 * 100000);
    return argument;
}

__attribute__((noinline)) static void start_upload(uintptr_t number, const pthread_attr_t *attributes) {
    pthread_t thread;
    for (int error; (error = pthread_create(&thread, attributes, receive_upload, (void *)number));) {
        if (error != EAGAIN) exit(1);
        usleep(1000);
    }
    pthread_detach(thread);
}

int main(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    for (uintptr_t number = 0;; number++) start_upload(number, &attributes);
}
