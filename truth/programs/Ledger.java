import java.io.RandomAccessFile;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Has accounts balanced and then made durable by a pool of threads, and waits for the future of each. */
public class Ledger {
    static final int ACCOUNTS = 30, OWN = 12000, BALANCES = 60000, SAVES = 35000, RESTS = 15000;

    long running, disk, sleep;

    static long now() {
        return System.nanoTime() / 1000;
    }

    /** For how long this thread has run or waited for a CPU. */
    static long cpu() throws Exception {
        String queued = Files.readString(Path.of("/proc/thread-self/schedstat")).split(" ")[1];
        return (ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime() + Long.parseLong(queued)) / 1000;
    }

    void compute(long length) {
        long begin = now(), sum = 0;
        while (now() < begin + length) {
            for (int i = 0; i < 20000; i++) {
                sum = sum * 31 + i;
            }
        }
        running += now() - begin + (sum == 42 ? 1 : 0);
    }

    Void save(FileChannel file) throws Exception {
        long before = cpu(), begin = now();
        while (now() < begin + SAVES) {
            file.write(ByteBuffer.allocate(16384));
            file.force(true);
        }
        long saved = now(), ran = cpu() - before;
        running += ran;
        disk += saved - begin - ran;
        long from = now();
        Thread.sleep(RESTS / 1000);
        sleep += now() - from;
        return null;
    }

    void keep() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(2);
        cpu();
        long begin = now();
        try (RandomAccessFile file = new RandomAccessFile("accounts", "rw")) {
            for (int i = 0; i < ACCOUNTS; i++) {
                compute(OWN);
                Future<?> balanced = pool.submit(() -> compute(BALANCES));
                balanced.get();
                Future<Void> saved = pool.submit(() -> save(file.getChannel()));
                saved.get();
            }
        }
        long job = now() - begin;
        pool.shutdown();
        System.err.println("truth java running " + running);
        System.err.println("truth java disk " + disk);
        System.err.println("truth java sleep " + sleep);
        System.err.println("job " + job);
    }

    public static void main(String[] arguments) throws Exception {
        new Ledger().keep();
    }
}
