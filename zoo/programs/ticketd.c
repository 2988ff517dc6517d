/* A ticket office: one connection is served after another, each within a fraction of a millisecond; what comes meanwhile
 * waits in the listener's queue, which is short.
 * Models an accept queue that overflows when many come at once.
 * usage: PROGRAM PORT */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

__attribute__((noinline)) static uint64_t print_ticket(uint64_t seed) {
    for (int i = 0; i < 300000; i++) seed = seed * 6364136223846793005u + 1;
    return seed;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int office = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(office, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (bind(office, (struct sockaddr *)&address, sizeof address) || listen(office, 3)) return 1;
    for (uint64_t ticket = 1;;) {
        int visitor = accept(office, NULL, NULL);
        char wish[64];
        if (recv(visitor, wish, sizeof wish, 0) > 0) {
            ticket = print_ticket(ticket);
            send(visitor, &ticket, sizeof ticket, MSG_NOSIGNAL);
        }
        close(visitor);
    }
}
