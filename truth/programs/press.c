// A print shop: the counter hands sheets to a press through a queue with condition variables and waits for each.
#include "clock.h"
#include <pthread.h>

enum { SHEETS = 40, OWN = 15000, PRINT = 45000, DRY = 40000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int wanted, printed;
static struct log counter, press;

static void *print(void *unused) {
    pthread_mutex_lock(&lock);
    while (printed < SHEETS) {
        while (wanted == printed)
            pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
        compute(&press, PRINT);
        nap(&press, DRY);
        pthread_mutex_lock(&lock);
        printed++;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    return unused;
}

int main(void) {
    int64_t start = now_us();
    pthread_t printer;
    pthread_create(&printer, NULL, print, NULL);
    for (int i = 1; i <= SHEETS; i++) {
        compute(&counter, OWN);
        int64_t from = now_us();
        pthread_mutex_lock(&lock);
        wanted = i;
        pthread_cond_broadcast(&changed);
        while (printed < i)
            pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
        note(&counter, WAITING, from, now_us(), 0);
    }
    pthread_join(printer, NULL);
    tell("press", &counter, NULL);
    tell("press", &press, &counter);
    fprintf(stderr, "job %lld\n", (long long)(now_us() - start));
}
