/* A request/response service: one thread a connection; each request of 64 bytes costs some CPU, then the answer goes out.
 * It is the victim in the scenarios about CPUs: on its own it is healthy.
 * usage: PROGRAM PORT ROUNDS   (a million rounds are about a millisecond of CPU) */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static long rounds;

__attribute__((noinline)) static uint64_t price_quote(uint64_t seed) {
    for (long i = 0; i < rounds; i++) seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed;
}

__attribute__((noinline)) static int serve_one(int connection) {
    uint64_t message[8];
    if (recv(connection, message, sizeof message, MSG_WAITALL) != sizeof message) return 0;
    message[0] = price_quote(message[0]);
    return send(connection, message, sizeof message, MSG_NOSIGNAL) == sizeof message;
}

static void *session(void *argument) {
    int connection = (int)(intptr_t)argument;
    while (serve_one(connection)) {}
    close(connection);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    rounds = atol(argv[2]);
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
