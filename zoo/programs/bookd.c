/* An order book: threads, one a CPU and two more, take a short lock of their own making around every match; it is one word
 * that is tried again and again. Models a user-space spin lock that is nearly always taken.
 * usage: PROGRAM THREADS */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_int book_word;
static uint64_t book[1024];

__attribute__((noinline)) static void book_enter(void) {
    while (atomic_exchange_explicit(&book_word, 1, memory_order_acquire))
        while (atomic_load_explicit(&book_word, memory_order_relaxed)) __builtin_ia32_pause();
}

__attribute__((noinline)) static void book_exit(void) {
    atomic_store_explicit(&book_word, 0, memory_order_release);
}

__attribute__((noinline)) static void match(uint64_t seed) {
    for (int i = 0; i < 4000; i++) book[seed % 1024] = seed = seed * 6364136223846793005u + book[i % 1024];
}

static void *trade(void *argument) {
    for (uint64_t seed = (uintptr_t)argument;; seed++) {
        book_enter();
        match(seed);
        book_exit();
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    for (intptr_t i = 0; i < atoi(argv[1]); i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, trade, (void *)i)) return 1;
    }
    pause();
}
