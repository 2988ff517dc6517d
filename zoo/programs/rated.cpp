// An exchange-rate service: readers convert amounts under a shared lock; the updater takes it alone and, while it has it,
// works through all rates.
// Models readers that wait for a writer that holds a read-write lock too long.
// usage: PROGRAM
#include <chrono>
#include <cstdint>
#include <mutex>
#include <pthread.h>
#include <shared_mutex>
#include <thread>
#include <vector>

static std::shared_mutex guard;
static std::vector<uint64_t> rates(1 << 16, 1);
static volatile uint64_t converted;

__attribute__((noinline)) static uint64_t convert(uint64_t amount) {
    std::shared_lock<std::shared_mutex> reading(guard);
    return amount * rates[amount % rates.size()];
}

__attribute__((noinline)) static void update_rates() {
    std::unique_lock<std::shared_mutex> writing(guard);
    for (uint64_t turn = 0; turn < 500; turn++)
        for (auto &rate : rates) rate = rate * 6364136223846793005u + turn;
}

static void customer(uint64_t amount) {
    pthread_setname_np(pthread_self(), "customer");
    for (;; amount += 7919) {
        converted = convert(amount);
        std::this_thread::sleep_for(std::chrono::microseconds(400));
    }
}

int main() {
    for (uint64_t n = 0; n < 5; n++) std::thread(customer, n).detach();
    std::thread updater([] {
        pthread_setname_np(pthread_self(), "updater");
        for (;;) {
            update_rates();
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    updater.join();
}
