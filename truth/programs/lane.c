// A lane: a helper computes its part of each item on the last CPU, where it may not be alone; the first thread has the first.
enum { HELPERS = 1, PART = 600 };
#include "lanes.h"
#include "items.h"

__attribute__((constructor)) static void begin(void) { keep_to(FIRST); }

static int64_t help(int helper) {
    static int64_t before;
    if (before == 0)
        keep_to(LAST);
    steps(PART);
    int64_t queued = cpu_us() - clock_us(CLOCK_THREAD_CPUTIME_ID), since = queued - before;
    before = queued;
    return since;
}
