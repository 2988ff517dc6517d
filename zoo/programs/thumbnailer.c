/* The helper of the page renderer: a request on standard input costs it CPU, then the answer goes out.
 * usage: PROGRAM */
#include <stdint.h>
#include <unistd.h>

__attribute__((noinline)) static uint64_t scale_picture(uint64_t seed) {
    for (long i = 0; i < 40000000; i++) seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed;
}

int main(void) {
    uint64_t request[32];
    while (read(0, request, sizeof request) == sizeof request) {
        request[0] = scale_picture(request[0]);
        if (write(1, request, sizeof request) != sizeof request) return 1;
    }
    return 0;
}
