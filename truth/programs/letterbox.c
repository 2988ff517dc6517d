// A service on POSIX message queues: the client sends a letter and waits for its answer.
#include "clock.h"
#include <mqueue.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { LETTERS = 40, OWN = 10000, READ = 55000, FETCH = 30000, SIZE = 64 };

static struct log sender, answerer;

// A queue without a name, shared with the processes to come.
static mqd_t queue(void) {
    char name[64];
    snprintf(name, sizeof name, "/letters-%d", getpid());
    struct mq_attr size = {.mq_maxmsg = 4, .mq_msgsize = SIZE};
    mqd_t made = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &size);
    if (made < 0)
        exit(1);
    mq_unlink(name);
    return made;
}

static int answer(mqd_t letters, mqd_t answers) {
    prctl(PR_SET_NAME, "scribe");
    char letter[SIZE];
    for (int i = 0; i < LETTERS; i++) {
        mq_receive(letters, letter, SIZE, NULL);
        compute(&answerer, READ);
        nap(&answerer, FETCH);
        mq_send(answers, letter, SIZE, 0);
    }
    tell("scribe", &answerer, NULL);
    return 0;
}

int main(void) {
    mqd_t letters = queue(), answers = queue();
    if (fork() == 0)
        return answer(letters, answers);
    int64_t start = now_us();
    char letter[SIZE] = "letter";
    for (int i = 0; i < LETTERS; i++) {
        compute(&sender, OWN);
        mq_send(letters, letter, SIZE, 0);
        mq_receive(answers, letter, SIZE, NULL);
    }
    tell("letterbox", &sender, NULL);
    fprintf(stderr, "job %lld\n", (long long)(now_us() - start));
    wait(NULL);
}
