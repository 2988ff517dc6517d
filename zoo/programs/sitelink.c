/* A tunnel between two sites, each a network namespace of its own with one end: every packet that goes in at one end comes
 * out at the other after the line's time, unless the line loses it; a line of limited rate sends one packet after another.
 * The namespaces are this process's file descriptors 100 (10.77.0.1) and 101 (10.77.0.2), and end with it: programs join
 * them through /proc/PID/fd.
 * usage: PROGRAM DELAY_MS LOSS_PER_MILLE RATE_KBIT PID_FILE   (a rate of 0 is none) */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 1024
#define ROOM 1600

struct packet {
    int64_t due;
    int size;
    char data[ROOM];
};

struct way {
    struct packet slots[SLOTS];
    unsigned first, count;
    int64_t free_at;
};

static struct way ways[2];
static int64_t delay_ns, rate_kbit;
static int loss;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* Makes a namespace with one end of the tunnel in it, keeps the namespace as the descriptor, and returns the end. */
static int make_site(int descriptor, const char *own) {
    if (unshare(CLONE_NEWNET)) die("unshare");
    int space = open("/proc/self/ns/net", O_RDONLY);
    if (space < 0 || dup2(space, descriptor) < 0) die("namespace");
    close(space);
    int end = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    strcpy(request.ifr_name, "site0");
    if (end < 0 || ioctl(end, TUNSETIFF, &request)) die("tun");
    int control = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in *address = (struct sockaddr_in *)&request.ifr_addr;
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    inet_pton(AF_INET, own, &address->sin_addr);
    if (ioctl(control, SIOCSIFADDR, &request)) die("address");
    inet_pton(AF_INET, "255.255.255.0", &address->sin_addr);
    if (ioctl(control, SIOCSIFNETMASK, &request)) die("mask");
    request.ifr_qlen = 1000;
    ioctl(control, SIOCSIFTXQLEN, &request);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(control, SIOCSIFFLAGS, &request)) die("up");
    strcpy(request.ifr_name, "lo");
    if (ioctl(control, SIOCSIFFLAGS, &request)) die("lo");
    close(control);
    return end;
}

static void take_in(struct way *way, int end) {
    while (way->count < SLOTS) {
        struct packet *packet = &way->slots[(way->first + way->count) % SLOTS];
        packet->size = (int)read(end, packet->data, ROOM);
        if (packet->size <= 0) return;
        if (loss && random() % 1000 < loss) continue;
        int64_t at = now();
        if (rate_kbit) {
            if (way->free_at < at) way->free_at = at;
            at = way->free_at += packet->size * 8 * 1000000LL / rate_kbit;
        }
        packet->due = at + delay_ns;
        way->count++;
    }
}

static void give_out(struct way *way, int end) {
    for (int64_t at = now(); way->count && way->slots[way->first].due <= at; way->count--) {
        struct packet *packet = &way->slots[way->first];
        if (write(end, packet->data, packet->size) < 0 && errno == EAGAIN) return;
        way->first = (way->first + 1) % SLOTS;
    }
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    delay_ns = atoll(argv[1]) * 1000000;
    loss = atoi(argv[2]);
    rate_kbit = atoll(argv[3]);
    int ends[2] = {make_site(100, "10.77.0.1"), make_site(101, "10.77.0.2")};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    FILE *file = fopen(argv[4], "w");
    if (!file || fprintf(file, "%d\n", (int)getpid()) < 0 || fclose(file)) die(argv[4]);
    for (;;) {
        int64_t next = INT64_MAX;
        for (int i = 0; i < 2; i++)
            if (ways[i].count && ways[i].slots[ways[i].first].due < next) next = ways[i].slots[ways[i].first].due;
        struct itimerspec due = {{0, 0}, {0, 0}};
        if (next != INT64_MAX) due.it_value = (struct timespec){next / 1000000000, next % 1000000000};
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &due, NULL);
        struct pollfd watched[3] = {{.fd = timer, .events = POLLIN}};
        for (int i = 0; i < 2; i++) watched[i + 1] = (struct pollfd){.fd = ends[i], .events = ways[i].count < SLOTS ? POLLIN : 0};
        poll(watched, 3, -1);
        uint64_t turns;
        if (read(timer, &turns, sizeof turns) < 0 && errno != EAGAIN) die("timer");
        for (int i = 0; i < 2; i++) {
            take_in(&ways[i], ends[i]);
            give_out(&ways[i], ends[1 - i]);
        }
    }
}
