// Keeps the calling thread to the first or the last of the CPUs that the program may use.
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>

enum lane { FIRST, LAST };

static inline void keep_to(enum lane lane) {
    static cpu_set_t may; // As it was before the first call.
    cpu_set_t one;
    if (CPU_COUNT(&may) == 0 && sched_getaffinity(0, sizeof may, &may) != 0)
        abort();
    int cpu = lane == FIRST ? 0 : CPU_SETSIZE - 1;
    while (!CPU_ISSET(cpu, &may))
        cpu += lane == FIRST ? 1 : -1;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0)
        abort();
}
