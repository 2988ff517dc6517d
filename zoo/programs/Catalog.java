// A catalog kept in memory: it answers by making short-lived pages from articles that all stay in memory, in a heap that
// is hardly larger than they are.
// Models a runtime that collects garbage most of the time.
// usage: PROGRAM ARTICLES
import java.util.HashMap;
import java.util.Map;

public class Catalog {
    static final Map<Integer, String> articles = new HashMap<>();
    static volatile int size;

    static String page(int from) {
        StringBuilder page = new StringBuilder();
        for (int i = from; i < from + 40; i++) page.append("<li>").append(articles.get(i)).append("</li>");
        return page.toString();
    }

    public static void main(String[] words) {
        int count = Integer.parseInt(words[0]);
        for (int i = 0; i < count; i++) articles.put(i, "article " + i + " in red, green and blue, sizes S to XL");
        for (int from = 0;; from = (from + 40) % (count - 40)) {
            size = page(from).length();
            articles.put(from, "article " + from + " in red, green and blue, sizes M to XL");
        }
    }
}
