// stacks sort|throw SECONDS: C++ at work in the standard library's sort, and in throwing.
#include <algorithm>
#include <ctime>
#include <stdexcept>
#include <string>
#include <vector>

#define FRAME __attribute__((noipa))

static volatile unsigned long sink = 1;

FRAME void spin()
{
	unsigned long x = sink;
	for (int i = 0; i < 2000; i++)
		x = x * 6364136223846793005UL + 1442695040888963407UL;
	sink = x | 1;
}

FRAME bool before(int a, int b)
{
	spin();
	return a < b;
}

FRAME void sort_numbers()
{
	std::vector<int> numbers;
	for (int i = 0; i < 500; i++)
		numbers.push_back(i * 7919 % 503);
	std::sort(numbers.begin(), numbers.end(), before);
	sink += numbers[0] | 1;
}

FRAME void fall(int depth)
{
	std::string cargo(depth + 20, 'x'); // to be destroyed on the way
	if (depth == 0)
		throw std::runtime_error("down");
	fall(depth - 1);
	sink += cargo.size();
}

FRAME void stand_up()
{
	try {
		fall(10);
	} catch (const std::runtime_error &) {
		sink += 2;
	}
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	while (clock() < std::stod(argv[2]) * CLOCKS_PER_SEC) {
		if (argv[1] == std::string("sort"))
			sort_numbers();
		else
			stand_up();
	}
}
