/* Looks at a log twice a second and rotates it once it is large.
 * usage: PROGRAM FILE */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void rotate_if_large(const char *path) {
    char old[4096];
    struct stat info;
    if (stat(path, &info) || info.st_size < 64 << 20) return;
    snprintf(old, sizeof old, "%s.1", path);
    rename(path, old);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    for (;; usleep(500000)) rotate_if_large(argv[1]);
}
