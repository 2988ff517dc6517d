/* Clients of the request/response service: each connection asks, waits for the answer, and pauses.
 * usage: PROGRAM PORT CONNECTIONS PAUSE_MICROSECONDS */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int port, pause_us;

static void *shopper(void *argument) {
    (void)argument;
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (connect(connection, (struct sockaddr *)&address, sizeof address)) exit(1);
    uint64_t message[8] = {1};
    while (send(connection, message, sizeof message, MSG_NOSIGNAL) == sizeof message &&
           recv(connection, message, sizeof message, MSG_WAITALL) == sizeof message)
        if (pause_us) usleep(pause_us);
    exit(1);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    port = atoi(argv[1]);
    pause_us = atoi(argv[3]);
    for (int i = atoi(argv[2]); i > 0; i--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, shopper, NULL)) return 1;
    }
    for (;;) pause();
}
