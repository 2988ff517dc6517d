// What a thread did, from when to when by CLOCK_MONOTONIC in microseconds, and what that is of the time that another waited.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum what { RUNNING, SLEEP, DISK, WAITING };

// `cpu` is the part of a sleep or of saving in which the thread ran or waited for a CPU.
struct span {
    enum what what;
    int64_t from, to, cpu;
};

struct log {
    struct span spans[1024];
    int count;
};

static inline int64_t clock_us(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static inline int64_t now_us(void) { return clock_us(CLOCK_MONOTONIC); }

static inline void note(struct log *log, enum what what, int64_t from, int64_t to, int64_t cpu) {
    if (log->count == sizeof log->spans / sizeof *log->spans)
        abort();
    log->spans[log->count++] = (struct span){what, from, to, cpu};
}

// Computes for so long.
static inline void compute(struct log *log, int64_t length) {
    static __thread volatile uint64_t sum;
    int64_t from = now_us(), to = from;
    while (to < from + length) {
        for (uint64_t i = 0; i < 20000; i++)
            sum = sum * 6364136223846793005ULL + i;
        to = now_us();
    }
    note(log, RUNNING, from, to, 0);
}

// For how long this thread has run or waited for a CPU.
static inline int64_t cpu_us(void) {
    static __thread int stat = -1;
    if (stat < 0)
        stat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    char text[96] = "";
    long long queued = 0;
    if (pread(stat, text, sizeof text - 1, 0) <= 0 || sscanf(text, "%*d %lld", &queued) != 1)
        abort();
    return clock_us(CLOCK_THREAD_CPUTIME_ID) + queued / 1000;
}

// Sleeps for so long.
static inline void nap(struct log *log, int64_t length) {
    int64_t cpu = cpu_us(), from = now_us();
    struct timespec t = {length / 1000000, length % 1000000 * 1000};
    nanosleep(&t, NULL);
    int64_t to = now_us();
    note(log, SLEEP, from, to, cpu_us() - cpu);
}

// Makes records durable, one after the other, for so long.
static inline void save(struct log *log, int file, int64_t length) {
    static char record[16384];
    int64_t cpu = cpu_us(), from = now_us(), to = from;
    while (to < from + length) {
        if (write(file, record, sizeof record) != sizeof record || fsync(file) != 0)
            abort();
        to = now_us();
    }
    note(log, DISK, from, to, cpu_us() - cpu);
}

static inline int new_file(const char *name) {
    int file = open(name, O_CREAT | O_WRONLY | O_APPEND, 0600);
    if (file < 0)
        abort();
    return file;
}

static inline void say(const char *party, const char *what, int64_t us) {
    if (us > 0)
        fprintf(stderr, "truth %s %s %lld\n", party, what, (long long)us);
}

// Says what was done while `waits` waited; all of it where that is NULL.
static inline void tell(const char *party, const struct log *done, const struct log *waits) {
    int64_t sums[WAITING] = {0};
    for (int i = 0; i < done->count; i++) {
        const struct span *span = &done->spans[i];
        if (span->what == WAITING)
            continue;
        int64_t part = waits ? 0 : span->to - span->from;
        for (int j = 0; waits && j < waits->count; j++) {
            const struct span *wait = &waits->spans[j];
            int64_t from = wait->from > span->from ? wait->from : span->from;
            int64_t to = wait->to < span->to ? wait->to : span->to;
            if (wait->what == WAITING && from < to)
                part += to - from;
        }
        int64_t cpu = span->cpu && span->to > span->from ? span->cpu * part / (span->to - span->from) : 0;
        sums[span->what] += part - cpu;
        sums[RUNNING] += cpu;
    }
    say(party, "running", sums[RUNNING]);
    say(party, "sleep", sums[SLEEP]);
    say(party, "disk", sums[DISK]);
}
