/* A host for extensions that looks for each one's settings along a list of folders, finds none, and tries again after a
 * tiny pause. Models calls that fail and are retried.
 * usage: PROGRAM FOLDER */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static volatile long loaded;

__attribute__((noinline)) static void load_settings(const char *folder, int extension) {
    static const char *places[] = {"etc", "etc/local", "share", "share/defaults", "lib", "opt", "site", "user"};
    char path[512];
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s/%s/extension-%d/settings.conf", folder, places[i], extension);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) continue;
        loaded++;
        close(file);
        return;
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    for (int round = 0;; round++) {
        load_settings(argv[1], round % 40);
        if (round % 20 == 0) usleep(50);
    }
}
