import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.locks.LockSupport;

/** Orders made by two threads, worked off by two, counted under a monitor, and written to a file from time to time. */
public final class Orders {
    private static final BlockingQueue<List<Integer>> QUEUE = new ArrayBlockingQueue<>(16);
    private static final Map<String, Long> TOTALS = new HashMap<>();

    private static List<Integer> order(int seed) {
        List<Integer> lines = new ArrayList<>();
        for (int n = 0; n < 200; n++) {
            lines.add((seed * 31 + n * 7919) % 1009);
        }
        return lines;
    }

    private static String describe(List<Integer> lines) {
        StringBuilder text = new StringBuilder();
        for (int line : lines) {
            text.append(line).append(line % 7 == 0 ? ';' : ',');
        }
        return text.toString();
    }

    private static void count(String key, long value) {
        synchronized (TOTALS) {
            TOTALS.merge(key, value, Long::sum);
            long sum = 0;
            for (long total : TOTALS.values()) {
                sum += total;
            }
            TOTALS.put("sum", sum % 1_000_003);
        }
    }

    private static void make(int seed) throws InterruptedException {
        for (int n = seed; ; n++) {
            QUEUE.put(order(n));
            LockSupport.parkNanos(100_000);
        }
    }

    private static void work() throws InterruptedException {
        for (;;) {
            List<Integer> lines = QUEUE.take();
            Collections.sort(lines);
            String text = describe(lines);
            for (String part : text.split(";")) {
                count("k" + part.hashCode() % 64, part.length());
            }
        }
    }

    private static void save(Path file) throws IOException, InterruptedException {
        for (;;) {
            Thread.sleep(50);
            String text;
            synchronized (TOTALS) {
                text = TOTALS.toString();
            }
            Files.writeString(file, text);
        }
    }

    private interface Task {
        void run() throws Exception;
    }

    private static void start(String name, Task task) {
        Thread thread = new Thread(() -> {
            try {
                task.run();
            } catch (Exception error) {
                error.printStackTrace();
                System.exit(1);
            }
        }, name);
        thread.start();
    }

    public static void main(String[] arguments) {
        Path file = Path.of(arguments[0]);
        start("make-1", () -> make(1));
        start("make-2", () -> make(100_000));
        start("work-1", Orders::work);
        start("work-2", Orders::work);
        start("save", () -> save(file));
    }
}
