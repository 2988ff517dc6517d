/* Answers one question about taxes at a time, on a local socket; an answer takes a while of computing.
 * usage: PROGRAM SOCKET ROUNDS   (a million rounds are about a millisecond of CPU) */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

__attribute__((noinline)) static uint64_t tax_for(uint64_t basket, long rounds) {
    for (long i = 0; i < rounds; i++) basket = basket * 6364136223846793005u + 1442695040888963407u;
    return basket;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 8)) return 1;
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        uint64_t basket;
        while (recv(connection, &basket, sizeof basket, MSG_WAITALL) == sizeof basket) {
            basket = tax_for(basket, atol(argv[2]));
            if (send(connection, &basket, sizeof basket, MSG_NOSIGNAL) != sizeof basket) break;
        }
        close(connection);
    }
}
