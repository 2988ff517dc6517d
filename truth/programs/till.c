// A till whose sales wait for a stock-taker that holds the lock on the stock.
// usage: PROGRAM count|pause
#include "clock.h"
#include <pthread.h>
#include <semaphore.h>

enum { ROUNDS = 40, HELD = 95000, OWN = 12000 };

static pthread_mutex_t stock = PTHREAD_MUTEX_INITIALIZER;
static sem_t begin, taken;
static struct log sales, taking;
static void (*work)(struct log *, int64_t);

static void *take_stock(void *unused) {
    for (int i = 0; i < ROUNDS; i++) {
        sem_wait(&begin);
        pthread_mutex_lock(&stock);
        sem_post(&taken);
        work(&taking, HELD);
        pthread_mutex_unlock(&stock);
    }
    return unused;
}

int main(int argc, char **argv) {
    work = argc > 1 && strcmp(argv[1], "pause") == 0 ? nap : compute;
    int64_t start = now_us();
    sem_init(&begin, 0, 0);
    sem_init(&taken, 0, 0);
    pthread_t taker;
    pthread_create(&taker, NULL, take_stock, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        sem_post(&begin);
        sem_wait(&taken);
        compute(&sales, OWN);
        int64_t from = now_us();
        pthread_mutex_lock(&stock);
        note(&sales, WAITING, from, now_us(), 0);
        pthread_mutex_unlock(&stock);
    }
    pthread_join(taker, NULL);
    tell("till", &sales, NULL);
    tell("till", &taking, &sales);
    fprintf(stderr, "job %lld\n", (long long)(now_us() - start));
}
