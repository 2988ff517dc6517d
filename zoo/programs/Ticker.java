// A price ticker: one thread takes prices from a feed every few milliseconds, another waits for them by looking at the
// sequence number without a pause. Models a busy wait that burns a CPU.
// usage: PROGRAM

public class Ticker {
    private static volatile long sequence;
    private static volatile double price;
    static double average;

    static void readFeed() {
        try {
            for (long number = 1;; number++) {
                Thread.sleep(4);
                price = number % 977;
                sequence = number;
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    static long awaitPrice(long seen) {
        while (sequence == seen) {
            Thread.onSpinWait();
        }
        return sequence;
    }

    public static void main(String[] words) {
        Thread feed = new Thread(Ticker::readFeed, "feed");
        feed.setDaemon(true);
        feed.start();
        for (long seen = 0;;) {
            seen = awaitPrice(seen);
            average = average * 0.99 + price * 0.01;
        }
    }
}
