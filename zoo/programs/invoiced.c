/* A batch job whose cost is one function: for every payment it searches all invoices from the start (quadratic), beside
 * cheap work that is as it should be. Models an expensive function in the program's own code.
 * usage: PROGRAM */
#include <stdint.h>
#include <stdlib.h>

#define ROWS 2500

struct entry {
    uint64_t reference;
    int64_t amount;
    char text[48];
};

static struct entry invoices[ROWS], payments[ROWS];
static volatile int64_t balance;

__attribute__((noinline)) static void load_batch(uint64_t seed) {
    for (int i = 0; i < ROWS; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        invoices[i].reference = seed;
        invoices[i].amount = payments[ROWS - 1 - i].amount = (int64_t)(seed >> 50);
        payments[ROWS - 1 - i].reference = seed;
        for (int j = 0; j < 47; j++) invoices[i].text[j] = (char)('a' + (seed >> j) % 26);
    }
}

__attribute__((noinline)) static struct entry *find_invoice(uint64_t reference) {
    for (int i = 0; i < ROWS; i++)
        if (invoices[i].reference == reference) return &invoices[i];
    return NULL;
}

__attribute__((noinline)) static void post_payment(struct entry *invoice, struct entry *payment) {
    int64_t check = 0;
    for (int i = 0; i < 48; i++) check += invoice->text[i] * 31;
    balance = balance + payment->amount - invoice->amount + check % 2;
}

__attribute__((noinline)) static void reconcile(void) {
    for (int i = 0; i < ROWS; i++) {
        struct entry *invoice = find_invoice(payments[i].reference);
        if (invoice) post_payment(invoice, &payments[i]);
    }
}

int main(void) {
    for (uint64_t month = 1;; month++) {
        load_batch(month);
        reconcile();
    }
}
