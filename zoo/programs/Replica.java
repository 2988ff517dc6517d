import java.io.DataInputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.util.zip.CRC32;

/**
 * A replica that fetches one segment after another from its master and keeps their checksums.
 * usage: java Replica HOST PORT PATH
 */
public class Replica {
    private static final int BUFFER = 8192;

    private final CRC32 checksum = new CRC32();
    private final byte[] block = new byte[BUFFER];

    @SuppressWarnings("deprecation")
    private void fetchSegment(Socket master, DataInputStream input, String path) throws IOException {
        String request = "GET " + path + " HTTP/1.1\r\nHost: master\r\n\r\n";
        master.getOutputStream().write(request.getBytes());
        long left = 0;
        for (String line = input.readLine(); line != null && !line.isEmpty(); line = input.readLine()) {
            if (line.startsWith("Content-Length: ")) {
                left = Long.parseLong(line.substring(16));
            }
        }
        while (left > 0) {
            int count = input.read(block, 0, (int) Math.min(left, BUFFER));
            if (count < 0) {
                throw new IOException("the master has gone");
            }
            checksum.update(block, 0, count);
            left -= count;
        }
    }

    private void follow(String host, int port, String path) throws IOException {
        try (Socket master = new Socket()) {
            master.setReceiveBufferSize(BUFFER);
            master.setTcpNoDelay(true);
            master.connect(new InetSocketAddress(host, port));
            DataInputStream input = new DataInputStream(master.getInputStream());
            while (true) {
                fetchSegment(master, input, path);
            }
        }
    }

    public static void main(String[] args) throws InterruptedException {
        Replica replica = new Replica();
        while (true) {
            try {
                replica.follow(args[0], Integer.parseInt(args[1]), args[2]);
            } catch (IOException e) {
                Thread.sleep(100);
            }
        }
    }
}
