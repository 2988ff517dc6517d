/* A build tool that decides whether there is something to do: it looks at every source and every object of a large tree,
 * pass after pass. Models stats that dominate.
 * usage: PROGRAM FOLDER   (FOLDER/moduleNNN/partNNN.c) */
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

static volatile uint64_t stale;

__attribute__((noinline)) static int is_stale(const char *folder, int module, int part) {
    char source[512], object[512];
    struct stat newer, older;
    snprintf(source, sizeof source, "%s/module%03d/part%03d.c", folder, module, part);
    snprintf(object, sizeof object, "%s/module%03d/part%03d.o", folder, module, part);
    return stat(source, &newer) || stat(object, &older) || newer.st_mtime > older.st_mtime;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    for (;;)
        for (int module = 0; module < 100; module++)
            for (int part = 0; part < 100; part++) stale += is_stale(argv[1], module, part);
}
