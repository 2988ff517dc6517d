/* A parcel service and its client in one program: over one connection the client sends each request in two pieces, head
 * and body, and waits for the answer; the service answers as soon as it has both.
 * Models small writes held back until the other end's delayed acknowledgement.
 * usage: PROGRAM serve PORT | PROGRAM ask PORT */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct head {
    uint32_t kind, length;
};

static volatile uint64_t parcels;

static int take(int connection, void *to, size_t size) {
    return recv(connection, to, size, MSG_WAITALL) == (ssize_t)size;
}

static void serve(int connection) {
    struct head head;
    char body[256];
    while (take(connection, &head, sizeof head) && head.length <= sizeof body && take(connection, body, head.length)) {
        uint64_t weight = 0;
        for (int turn = 0; turn < 200; turn++)
            for (uint32_t i = 0; i < head.length; i++) weight = weight * 31 + (unsigned char)body[i];
        if (send(connection, &weight, sizeof weight, MSG_NOSIGNAL) != sizeof weight) break;
    }
    close(connection);
}

static int ask(int connection) {
    char body[120];
    memset(body, 'p', sizeof body);
    for (uint32_t kind = 0;; kind++) {
        struct head head = {.kind = kind, .length = sizeof body};
        uint64_t weight;
        if (write(connection, &head, sizeof head) != sizeof head || write(connection, body, sizeof body) != sizeof body) return 1;
        if (!take(connection, &weight, sizeof weight)) return 1;
        parcels += weight;
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (!strcmp(argv[1], "ask")) return connect(one, (struct sockaddr *)&address, sizeof address) ? 1 : ask(one);
    setsockopt(one, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(one, (struct sockaddr *)&address, sizeof address) || listen(one, 16)) return 1;
    for (;;) serve(accept(one, NULL, NULL));
}
