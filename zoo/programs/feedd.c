/* Parses a price list a byte at a time, each byte with a call of its own. Models useless calls at a high rate.
 * usage: PROGRAM FILE */
#include <fcntl.h>
#include <unistd.h>

static volatile long rows;

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int file = open(argv[1], O_RDONLY);
    if (file < 0) return 1;
    for (;;) {
        char letter;
        while (read(file, &letter, 1) == 1) rows += letter == '\n';
        lseek(file, 0, SEEK_SET);
    }
}
