/* An import that handles a small batch, then waits for its own timer before the next, although more is there.
 * Models a job that is slow because it pauses on purpose.
 * usage: PROGRAM */
#include <stdint.h>
#include <time.h>

static volatile uint64_t imported;

__attribute__((noinline)) static void import_batch(void) {
    uint64_t digest = imported;
    for (int i = 0; i < 2000000; i++) digest = digest * 6364136223846793005u + 1;
    imported = digest;
}

__attribute__((noinline)) static void await_turn(void) {
    struct timespec turn = {.tv_nsec = 40 * 1000 * 1000};
    nanosleep(&turn, NULL);
}

int main(void) {
    for (;;) {
        import_batch();
        await_turn();
    }
}
