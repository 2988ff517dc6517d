/* A relay that asks its two connections again and again whether there is something, without waiting; now and then there
 * is. Models polling with no result.
 * usage: PROGRAM */
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static int pair[2];

static void *peer(void *argument) {
    char message[32] = {0};
    for (; write(pair[1], message, sizeof message) > 0;) usleep(20000);
    return argument;
}

int main(void) {
    pthread_t thread;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || pthread_create(&thread, NULL, peer, NULL)) return 1;
    struct pollfd watched[2] = {{.fd = pair[0], .events = POLLIN}, {.fd = dup(pair[0]), .events = POLLPRI}};
    for (;;) {
        char message[32];
        if (poll(watched, 2, 0) > 0 && read(pair[0], message, sizeof message) <= 0) return 1;
    }
}
