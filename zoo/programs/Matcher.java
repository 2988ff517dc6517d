// Matches names against names with an edit distance, all against all; most of the time goes into one method.
// Models an expensive method in the program's own code.
// usage: PROGRAM
public class Matcher {
    static volatile int close;

    static int distance(String a, String b) {
        int[] row = new int[b.length() + 1];
        for (int j = 0; j <= b.length(); j++) row[j] = j;
        for (int i = 1; i <= a.length(); i++) {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.length(); j++) {
                int above = row[j];
                int change = a.charAt(i - 1) == b.charAt(j - 1) ? diagonal : diagonal + 1;
                row[j] = Math.min(change, Math.min(above, row[j - 1]) + 1);
                diagonal = above;
            }
        }
        return row[b.length()];
    }

    public static void main(String[] words) {
        String[] names = new String[500];
        for (int i = 0; i < names.length; i++) names[i] = "customer " + (i * 7919 % 100003) + " of the branch in town " + i % 97;
        for (;;)
            for (String left : names)
                for (String right : names)
                    if (distance(left, right) < 3) close++;
    }
}
