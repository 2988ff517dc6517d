// A stock service: six order threads update single counts under the shelf's monitor; the auditor recounts everything
// under the same monitor.
// Models threads that wait for a monitor that one of them holds too long.
// usage: PROGRAM
import java.util.Random;

public class Stock {
    private final long[] shelf = new long[200_000];
    static volatile long slips;

    synchronized void take(int item) {
        shelf[item % shelf.length]++;
    }

    synchronized long recount() {
        long total = 0;
        for (int turn = 0; turn < 150; turn++)
            for (int i = 0; i < shelf.length; i++) total = total * 31 + shelf[i];
        return total;
    }

    public static void main(String[] words) throws InterruptedException {
        Stock stock = new Stock();
        Thread auditor = new Thread(() -> {
            for (;;) {
                slips += stock.recount();
                pause(2);
            }
        }, "auditor");
        auditor.start();
        for (int n = 0; n < 6; n++) {
            new Thread(() -> {
                Random random = new Random();
                for (;;) {
                    stock.take(random.nextInt(1_000_000));
                    pause(1);
                }
            }, "order-" + n).start();
        }
        auditor.join();
    }

    static void pause(long milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
