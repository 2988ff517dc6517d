/* A market data feed: it sends quotes as fast as asked, each in a datagram of its own, to one address.
 * usage: PROGRAM ADDRESS PORT QUOTES_A_SECOND */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 64

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int feed = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    if (!inet_aton(argv[1], &address.sin_addr)) return 2;
    static uint64_t quotes[BATCH][6];
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){quotes[i], sizeof quotes[i]};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    double gap = BATCH / atof(argv[3]), next = now();
    for (uint64_t number = 0;; next += gap) {
        for (int i = 0; i < BATCH; i++) quotes[i][0] = number++;
        sendmmsg(feed, messages, BATCH, 0);
        double left = next - now();
        struct timespec pause = {.tv_nsec = (long)(left * 1e9)};
        if (left > 0) nanosleep(&pause, NULL);
        else if (left < -0.1) next = now();
    }
}
