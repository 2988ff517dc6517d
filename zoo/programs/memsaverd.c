/* A memory saver that, a few times a second, has the kernel page out the memory of a program it takes for idle.
 * usage: PROGRAM NAME */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int find(const char *name) {
    DIR *folder = opendir("/proc");
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char path[300], comm[32] = "";
        snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
        FILE *file = atoi(entry->d_name) > 0 ? fopen(path, "r") : NULL;
        if (!file) continue;
        int read = fscanf(file, "%31s", comm);
        fclose(file);
        if (read == 1 && !strcmp(comm, name)) return atoi(entry->d_name);
    }
    exit(1);
}

static void page_out(int pid, int process) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "r");
    if (!maps) exit(1);
    while (fgets(line, sizeof line, maps)) {
        uintptr_t start, end;
        if (sscanf(line, "%lx-%lx rw-p", &start, &end) != 2 || end - start < 1 << 20) continue;
        struct iovec range = {(void *)start, end - start};
        syscall(SYS_process_madvise, process, &range, 1, MADV_PAGEOUT, 0);
    }
    fclose(maps);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int pid = find(argv[1]), process = (int)syscall(SYS_pidfd_open, pid, 0);
    if (process < 0) return 1;
    for (;;) {
        page_out(pid, process);
        usleep(300000);
    }
}
