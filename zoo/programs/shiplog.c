/* The nodes of a cluster, which send their log's lines to a collector by UDP, all of them at the same moments.
 * usage: PROGRAM ADDRESS PORT LINES EVERY_MILLISECONDS */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#define NODES 64

static char lines[NODES][256];
static struct iovec parts[NODES];
static struct mmsghdr messages[NODES];

static void write_lines(unsigned turn) {
    for (unsigned node = 0; node < NODES; node++) {
        int size = snprintf(lines[node], sizeof lines[node], "<13>Oct  3 04:%02u:%02u node%02u kubelet[812]: pod shop-%u: probe succeeded after %u ms",
                            turn / 60 % 60, turn % 60, node, turn % 977, turn % 89);
        parts[node] = (struct iovec){lines[node], (size_t)size};
        messages[node].msg_hdr.msg_iov = &parts[node];
        messages[node].msg_hdr.msg_iovlen = 1;
    }
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    struct sockaddr_in collector = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &collector.sin_addr);
    int line = socket(AF_INET, SOCK_DGRAM, 0);
    if (connect(line, (struct sockaddr *)&collector, sizeof collector)) return 1;
    int count = atoi(argv[3]);
    long every = atol(argv[4]) * 1000000;
    for (unsigned turn = 0;; turn++) {
        write_lines(turn);
        for (int sent = 0; sent < count; sent += NODES) sendmmsg(line, messages, NODES, 0);
        nanosleep(&(struct timespec){every / 1000000000, every % 1000000000}, NULL);
    }
}
