/* Compiled code that recurses, through an interface and a sort. Waits for its input to end, so that its perf map can be asked for. */
import java.util.Arrays;

public class Stacks {
	interface Step { int go(int depth); }

	static int leaf(int n) {
		int x = n | 1;
		for (int i = 0; i < 3000; i++)
			x = x * 1664525 + 1013904223;
		return x;
	}

	static int middle(Step step, int depth) {
		return depth > 1 ? step.go(depth - 1) + 1 : leaf(depth);
	}

	static int outer() {
		Step[] steps = new Step[1];
		steps[0] = depth -> middle(steps[0], depth);
		Integer[] numbers = new Integer[64];
		for (int i = 0; i < numbers.length; i++)
			numbers[i] = i * 37 % 61;
		Arrays.sort(numbers, (a, b) -> middle(steps[0], 8) * 0 + a.compareTo(b));
		return numbers[3];
	}

	public static void main(String[] args) throws Exception {
		long end = System.nanoTime() + (long) (Double.parseDouble(args[0]) * 1e9);
		long sum = 0;
		while (System.nanoTime() < end)
			sum += outer();
		System.out.println("done " + sum);
		while (System.in.read() >= 0) { }
	}
}
