/* A chat front end on epoll: it keeps every connection, and takes new ones as long as there are some waiting. When it may
 * not have another descriptor, accept fails at once and the listener stays ready. Models running out of descriptors.
 * usage: PROGRAM PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static int poller;

static void take_connection(int listener) {
    int connection = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (connection < 0) return;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = connection};
    epoll_ctl(poller, EPOLL_CTL_ADD, connection, &event);
}

static void relay(int connection) {
    char line[512];
    ssize_t length = read(connection, line, sizeof line);
    if (length <= 0 || write(connection, line, (size_t)length) != length) close(connection);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 512)) return 1;
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[32];
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event)) return 1;
    for (;;) {
        int count = epoll_wait(poller, ready, 32, -1);
        for (int i = 0; i < count; i++)
            ready[i].data.fd == listener ? take_connection(listener) : relay(ready[i].data.fd);
    }
}
