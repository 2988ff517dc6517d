// A check-out service: every order works a little, then waits for the warehouse's next slot by a timer of its own.
// Models a service that is slow because it sleeps on the path of a request.
// usage: PROGRAM PORT
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

public class Checkout {
    static long total(long seed) {
        for (int i = 0; i < 200_000; i++) seed = seed * 6364136223846793005L + 1;
        return seed;
    }

    static void awaitSlot() {
        try {
            Thread.sleep(60);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    static void order(HttpExchange exchange) throws IOException {
        byte[] answer = Long.toString(total(System.nanoTime())).getBytes();
        awaitSlot();
        exchange.sendResponseHeaders(200, answer.length);
        exchange.getResponseBody().write(answer);
        exchange.close();
    }

    public static void main(String[] words) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(words[0])), 64);
        server.createContext("/order", Checkout::order);
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
    }
}
