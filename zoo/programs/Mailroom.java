import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * A mail room with forty workers at a queue, into which a letter comes now and then.
 * usage: java Mailroom
 */
public class Mailroom {
    private static final LinkedBlockingQueue<String> letters = new LinkedBlockingQueue<>();
    private static volatile int delivered;

    private static void deliver() {
        try {
            while (true) delivered += letters.take().length();
        } catch (InterruptedException leaving) {
            Thread.currentThread().interrupt();
        }
    }

    public static void main(String[] args) throws Exception {
        var workers = Executors.newFixedThreadPool(40);
        for (int worker = 0; worker < 40; worker++) workers.submit(Mailroom::deliver);
        while (true) {
            letters.add("Dear customer");
            Thread.sleep(250);
        }
    }
}
