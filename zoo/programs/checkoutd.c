/* A checkout: one request of 64 bytes at a time, for which it adds up a basket itself and asks another service on a local
 * socket about the taxes.
 * usage: PROGRAM PORT ROUNDS SOCKET   (a million rounds are about a millisecond of CPU) */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

__attribute__((noinline)) static uint64_t add_up(uint64_t basket, long rounds) {
    for (long i = 0; i < rounds; i++) basket = basket * 6364136223846793005u + 1442695040888963407u;
    return basket;
}

__attribute__((noinline)) static int ask_for_tax(int taxes, uint64_t *basket) {
    return send(taxes, basket, sizeof *basket, MSG_NOSIGNAL) == sizeof *basket &&
           recv(taxes, basket, sizeof *basket, MSG_WAITALL) == sizeof *basket;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int taxes = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un other = {.sun_family = AF_UNIX};
    strncpy(other.sun_path, argv[3], sizeof other.sun_path - 1);
    for (int tries = 0; connect(taxes, (struct sockaddr *)&other, sizeof other); usleep(50000))
        if (++tries == 100) return 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) return 1;
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        uint64_t message[8];
        while (recv(connection, message, sizeof message, MSG_WAITALL) == sizeof message) {
            message[0] = add_up(message[0], atol(argv[2]));
            if (!ask_for_tax(taxes, message)) return 1;
            if (send(connection, message, sizeof message, MSG_NOSIGNAL) != sizeof message) break;
        }
        close(connection);
    }
}
