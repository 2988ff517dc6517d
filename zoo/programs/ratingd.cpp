// A rating engine: every thread has an arena that it fills a page of for each job and hands back to the kernel at once, as
// an allocator does that is told to keep nothing. Models address-space changes that interrupt the other CPUs of a process.
// usage: PROGRAM THREADS
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <sys/mman.h>
#include <thread>
#include <vector>

namespace {

std::atomic<uint64_t> rated;

class Arena {
public:
    Arena() : start(static_cast<uint64_t *>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
        if (start == MAP_FAILED) exit(1);
    }
    uint64_t *take() { return start; }
    [[gnu::noinline]] void purge() {
        if (madvise(start, size, MADV_DONTNEED)) exit(1);
    }

private:
    static constexpr size_t size = 1 << 20;
    uint64_t *start;
};

[[gnu::noinline]] uint64_t rate(uint64_t *scratch, uint64_t seed) {
    for (int i = 0; i < 256; i++) scratch[i] = seed = seed * 6364136223846793005u + 1;
    return scratch[seed >> 56];
}

void work(uint64_t seed) {
    Arena arena;
    for (;; seed++) {
        rated += rate(arena.take(), seed);
        arena.purge();
    }
}

}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    std::vector<std::thread> threads;
    for (int i = 0; i < atoi(argv[1]); i++) threads.emplace_back(work, i);
    for (auto &thread : threads) thread.join();
}
