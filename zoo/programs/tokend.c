/* Makes session tokens in bulk: few calls for large blocks of kernel random numbers, little work of its own.
 * Models CPU time burnt in the kernel on the program's own behalf.
 * usage: PROGRAM */
#include <stdint.h>
#include <sys/random.h>
#include <sys/types.h>

static unsigned char block[1 << 18];
static volatile uint64_t issued;

int main(void) {
    for (;;) {
        ssize_t got = getrandom(block, sizeof block, 0);
        uint64_t digest = 0;
        for (ssize_t i = 0; i < got; i += 64) digest = digest * 31 + block[i];
        issued = digest;
    }
}
