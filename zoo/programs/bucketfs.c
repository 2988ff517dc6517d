/* A volume kept in an object store, as one large file of a FUSE file system: every read of it is a request to the store
 * and takes that request's time; many can be under way. With three numbers it serves every EVERYth read only after LONG.
 * Models a device that answers slowly though it has little to do.
 * usage: PROGRAM MOUNTPOINT ROUND_TRIP_US [EVERY LONG_US] */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fuse3/fuse.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (8ll << 30)
#define NAME "/volume.img"

static unsigned round_trip, every, longest;
static atomic_uint reads;

static int attributes(const char *path, struct stat *status, struct fuse_file_info *file) {
    (void)file;
    memset(status, 0, sizeof *status);
    status->st_mode = strcmp(path, "/") ? S_IFREG | 0600 : S_IFDIR | 0755;
    status->st_nlink = 1;
    status->st_size = strcmp(path, "/") ? SIZE : 0;
    return strcmp(path, "/") && strcmp(path, NAME) ? -ENOENT : 0;
}

static int list(const char *path, void *buffer, fuse_fill_dir_t fill, off_t at, struct fuse_file_info *file,
                enum fuse_readdir_flags flags) {
    (void)path, (void)at, (void)file, (void)flags;
    fill(buffer, NAME + 1, NULL, 0, 0);
    return 0;
}

static int open_volume(const char *path, struct fuse_file_info *file) {
    file->direct_io = 0;
    return strcmp(path, NAME) ? -ENOENT : 0;
}

static void fetch_object(void) {
    unsigned number = atomic_fetch_add(&reads, 1);
    usleep(every && number % every == every - 1 ? longest : round_trip);
}

static int read_volume(const char *path, char *buffer, size_t size, off_t at, struct fuse_file_info *file) {
    (void)path, (void)file;
    fetch_object();
    memset(buffer, (int)(at >> 20), size);
    return (int)size;
}

static const struct fuse_operations operations = {
    .getattr = attributes, .readdir = list, .open = open_volume, .read = read_volume};

int main(int argc, char **argv) {
    if (argc != 3 && argc != 5) return 2;
    round_trip = (unsigned)atoi(argv[2]);
    if (argc == 5) every = (unsigned)atoi(argv[3]), longest = (unsigned)atoi(argv[4]);
    char *words[] = {argv[0], "-f", "-o", "fsname=bucketfs", argv[1], NULL};
    return fuse_main(5, words, &operations, NULL);
}
