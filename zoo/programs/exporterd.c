/* A metrics exporter that reads a large generated /proc file again and again in large pieces and picks out little.
 * Models CPU time burnt in the kernel, which formats what hardly anybody reads.
 * usage: PROGRAM */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static char text[1 << 16];
static volatile long seen;

int main(void) {
    for (;;) {
        int file = open("/proc/kallsyms", O_RDONLY);
        if (file < 0) return 1;
        for (ssize_t got; (got = read(file, text, sizeof text)) > 0;) seen += memchr(text, '[', got) != NULL;
        close(file);
    }
}
