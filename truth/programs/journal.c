// A journal on a unix socket: answers each entry when it is durable. Ends with its client.
// usage: PROGRAM SOCKET FILE
#include "clock.h"
#include <sys/socket.h>
#include <sys/un.h>

enum { DURABLE = 70000, INDEX = 15000 };

static struct log done;

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strncpy(name.sun_path, argv[1], sizeof name.sun_path - 1);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&name, sizeof name) != 0 || listen(listener, 5) != 0)
        return 1;
    int client = accept(listener, NULL, NULL), file = new_file(argv[2]);
    char entry[128];
    while (read(client, entry, sizeof entry) > 0) {
        save(&done, file, DURABLE);
        compute(&done, INDEX);
        if (write(client, "ok", 2) != 2)
            return 1;
    }
    tell("journal", &done, NULL);
}
