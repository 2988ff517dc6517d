/* Keeps shopping baskets in memory: most are old, and the kernel is told that they may go to swap; requests only touch
 * the newest. One request of 64 bytes on each connection at a time.
 * usage: PROGRAM PORT MEGABYTES */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define NEWEST (8L << 20)

static char *baskets;

__attribute__((noinline)) static uint64_t look_up(uint64_t seed) {
    uint64_t sum = 0;
    for (int i = 0; i < 20000; i++) sum += baskets[(seed = seed * 6364136223846793005u + 1) % NEWEST];
    return sum;
}

static void *session(void *argument) {
    int connection = (int)(intptr_t)argument;
    uint64_t message[8];
    while (recv(connection, message, sizeof message, MSG_WAITALL) == sizeof message) {
        message[0] = look_up(message[0]);
        if (send(connection, message, sizeof message, MSG_NOSIGNAL) != sizeof message) break;
    }
    close(connection);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    long size = atol(argv[2]) << 20;
    baskets = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (baskets == MAP_FAILED) return 1;
    for (long i = 0; i < size; i += 4096) memset(baskets + i, (int)(i >> 12 | 1), 4096);
    madvise(baskets + NEWEST, size - NEWEST, MADV_PAGEOUT);
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) return 1;
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        pthread_t thread;
        if (connection >= 0 && !pthread_create(&thread, NULL, session, (void *)(intptr_t)connection)) pthread_detach(thread);
    }
}
