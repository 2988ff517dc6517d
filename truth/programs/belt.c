// A conveyor belt of two processes with semaphores in shared memory: the loader waits until the packer has packed.
#include "clock.h"
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { PARCELS = 40, OWN = 10000, FOLD = 50000, GLUE = 35000 };

struct belt {
    sem_t loaded, packed;
};

static struct log loader, packer;

static int pack(struct belt *belt) {
    prctl(PR_SET_NAME, "packer");
    for (int i = 0; i < PARCELS; i++) {
        sem_wait(&belt->loaded);
        compute(&packer, FOLD);
        nap(&packer, GLUE);
        sem_post(&belt->packed);
    }
    tell("packer", &packer, NULL);
    return 0;
}

int main(void) {
    struct belt *belt = mmap(NULL, sizeof *belt, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sem_init(&belt->loaded, 1, 0);
    sem_init(&belt->packed, 1, 0);
    if (fork() == 0)
        return pack(belt);
    int64_t start = now_us();
    for (int i = 0; i < PARCELS; i++) {
        compute(&loader, OWN);
        sem_post(&belt->loaded);
        sem_wait(&belt->packed);
    }
    tell("belt", &loader, NULL);
    fprintf(stderr, "job %lld\n", (long long)(now_us() - start));
    wait(NULL);
}
