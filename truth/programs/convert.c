// Reads orders and converts each: computes, or asks a slow source. Writes when it did what.
#include "clock.h"

enum { COMPUTES = 65000, ASKS = 35000 };

static struct log done;

int main(void) {
    static char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        compute(&done, COMPUTES);
        nap(&done, ASKS);
        for (int i = done.count - 2; i < done.count; i++)
            printf("%s %lld %lld %lld\n", done.spans[i].what == SLEEP ? "sleep" : "running", (long long)done.spans[i].from,
                   (long long)done.spans[i].to, (long long)done.spans[i].cpu);
        printf("converted\n");
        fflush(stdout);
    }
}
