// A help desk: visitors are answered by a fixed pool of threads, each of which asks the archive, a service elsewhere, and
// waits for it.
// Models a pool of threads that is used up.
// usage: PROGRAM PORT ARCHIVE_PORT
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.URL;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.atomic.AtomicInteger;

public class Desk {
    static byte[] askArchive(URL archive) throws IOException {
        try (InputStream answer = archive.openStream()) {
            return answer.readAllBytes();
        }
    }

    public static void main(String[] words) throws IOException {
        URL archive = new URL("http://127.0.0.1:" + words[1] + "/case");
        AtomicInteger number = new AtomicInteger();
        ThreadFactory named = work -> new Thread(work, "desk-" + number.incrementAndGet());
        ExecutorService pool = Executors.newFixedThreadPool(3, named);
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(words[0])), 128);
        server.createContext("/", exchange -> {
            byte[] answer = askArchive(archive);
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.setExecutor(pool);
        server.start();
    }
}
