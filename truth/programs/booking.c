// A booking office that has each booking written down by a journal, through a unix socket, before it goes on.
// usage: PROGRAM JOURNAL
#include "clock.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { BOOKINGS = 40, OWN = 12000 };

static struct log office;

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    pid_t journal = fork();
    if (journal == 0) {
        execl(argv[1], argv[1], "journal.sock", "journal.log", NULL);
        _exit(1);
    }
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "journal.sock"};
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    while (connect(server, (struct sockaddr *)&name, sizeof name) != 0)
        usleep(1000);
    int64_t start = now_us();
    char answer[16], entry[128] = "booking";
    for (int i = 0; i < BOOKINGS; i++) {
        compute(&office, OWN);
        if (write(server, entry, sizeof entry) != sizeof entry || read(server, answer, sizeof answer) != 2)
            return 1;
    }
    tell("booking", &office, NULL);
    fprintf(stderr, "job %lld\n", (long long)(now_us() - start));
    close(server);
    waitpid(journal, NULL, 0);
}
