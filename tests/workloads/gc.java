import java.util.Scanner;

/**
 * gc: on each line of input, a number of MB, allocates that much, keeps a little of it for a while,
 * and says so. `full` has everything collected.
 */
public class gc {
    private static final byte[][] kept = new byte[200][];

    private static void allocate(long megabytes) {
        for (long i = 0; i < megabytes * 64; i++) {
            kept[(int) (i * 7919 % kept.length)] = new byte[16 << 10];
        }
    }

    public static void main(String[] args) {
        Scanner in = new Scanner(System.in);
        while (in.hasNext()) {
            String word = in.next();
            if (word.equals("full")) {
                System.gc();
            } else {
                allocate(Long.parseLong(word));
            }
            System.out.println("done");
        }
    }
}
