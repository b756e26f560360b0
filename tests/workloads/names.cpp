// names SECONDS: all of it in a template's member function, called through a namespace.
#include "work.h"

namespace engine
{
template <typename T> struct Wheel {
	NOINLINE T turn(T rounds)
	{
		WORK(rounds);
		return rounds + 1;
	}
};

NOINLINE long drive(Wheel<long> &wheel)
{
	return wheel.turn(SLICE) + 1;
}
} // namespace engine

int main(int argc, char **argv)
{
	double limit = argc > 1 ? atof(argv[1]) : LIFE;
	engine::Wheel<long> wheel;

	begin();
	while (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) < limit) {
		for (int i = 0; i < SLICES; i++)
			sink = sink + engine::drive(wheel);
	}
	return 0;
}
