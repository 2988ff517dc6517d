// Reads a ledger byte by byte through a file that does not buffer.
// Models useless calls at a high rate.
// usage: PROGRAM FILE
import java.io.IOException;
import java.io.RandomAccessFile;

public class Ledger {
    static volatile long rows;

    static long count(RandomAccessFile file) throws IOException {
        long found = 0;
        for (int letter = file.read(); letter >= 0; letter = file.read())
            if (letter == '\n') found++;
        return found;
    }

    public static void main(String[] words) throws IOException {
        try (RandomAccessFile file = new RandomAccessFile(words[0], "r")) {
            for (;;) {
                file.seek(0);
                rows += count(file);
            }
        }
    }
}
