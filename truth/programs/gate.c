// A gate: four helpers ask somebody slow in each item, with a lock held: one for all where it is SHARED, else one for each.
enum { HELPERS = 4, ASK = 2000 };
#include "items.h"

static pthread_mutex_t locks[HELPERS] = {[0 ... HELPERS - 1] = PTHREAD_MUTEX_INITIALIZER};

static int64_t help(int helper) {
    pthread_mutex_t *lock = &locks[SHARED ? 0 : helper];
    int64_t from = now_us();
    pthread_mutex_lock(lock);
    int64_t held = now_us();
    struct timespec answer = {0, ASK * 1000};
    nanosleep(&answer, NULL);
    steps(5);
    pthread_mutex_unlock(lock);
    return held - from;
}
