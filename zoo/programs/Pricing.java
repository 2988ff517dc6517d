import com.sun.net.httpserver.HttpServer;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A pricing service over HTTP. Each request makes some garbage, which the collector clears away in passing.
 * usage: java Pricing PORT
 */
public class Pricing {
    private static final AtomicInteger served = new AtomicInteger();

    private static String priceList(int customer) {
        List<String> lines = new ArrayList<>();
        for (int item = 0; item < 200; item++)
            lines.add("item " + item + ": " + (item * 31 + customer) % 997 + "." + item % 100);
        return String.join("\n", lines);
    }

    public static void main(String[] args) throws Exception {
        var address = new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(args[0]));
        HttpServer server = HttpServer.create(address, 64);
        server.createContext("/", exchange -> {
            byte[] page = priceList(served.incrementAndGet()).getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, page.length);
            exchange.getResponseBody().write(page);
            exchange.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
    }
}
