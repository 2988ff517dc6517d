// Scales one picture: computes, and waits for a while for a slow scanner.
#include "clock.h"

static struct log done;

int main(void) {
    compute(&done, 110000);
    nap(&done, 40000);
    tell("scale", &done, NULL);
}
