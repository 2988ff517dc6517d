/* Looks up where articles are: for each it searches a list of folders for a note on it, finds none anywhere, and then
 * reads a page of the index past the page cache.
 * usage: PROGRAM FOLDER INDEX */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE 16384

__attribute__((noinline)) static void find_notes(const char *folder, uint64_t article) {
    char path[512];
    for (int shelf = 0; shelf < 4000; shelf++) {
        snprintf(path, sizeof path, "%s/shelf-%d/%llu.note", folder, shelf, (unsigned long long)article % 1000);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) close(file);
    }
}

__attribute__((noinline)) static int read_index(int file, off_t size, uint64_t article, void *page) {
    uint64_t key = article * 6364136223846793005u + 1442695040888963407u;
    return pread(file, page, PIECE, (off_t)((key >> 16) % (size / PIECE) * PIECE)) == PIECE;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    int file = open(argv[2], O_RDONLY | O_DIRECT);
    struct stat status;
    void *page;
    if (file < 0 || fstat(file, &status) || posix_memalign(&page, 4096, PIECE)) return 1;
    for (uint64_t article = 1;; article++) {
        find_notes(argv[1], article);
        if (!read_index(file, status.st_size, article, page)) return 1;
    }
}
