// What the kept recording is of: one of each kind of frame that rprof tells apart. See record.sh.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEPT __attribute__((noinline, noipa))

extern "C" void plain_work(unsigned rounds); // libplain.so, which has no symbols but this one

static volatile uint64_t result;

static double now()
{
	timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

namespace ink {

static inline __attribute__((always_inline)) uint64_t mix(uint64_t color)
{
	return color * 0x2545f4914f6cdd1d ^ color >> 29;
}

template <typename Color> struct Brush {
	KEPT static void paint(int rounds)
	{
		Color color = rounds;
		for (int i = 0; i < rounds; i++)
			color = mix(color + i);
		result += color;
	}
};

} // namespace ink

// Inside the kernel for most of its time.
KEPT static void draw_lots()
{
	static char bytes[1 << 16];
	for (int i = 0; i < 20; i++)
		result += getrandom(bytes, sizeof(bytes), 0);
}

KEPT static unsigned climb(unsigned depth)
{
	if (depth == 0) {
		ink::Brush<uint64_t>::paint(1 << 20);
		return 0;
	}
	return climb(depth - 1) + 1;
}

// Code made at run time: a loop of `rounds`, once with a name in a perf map and once without.
static void (*jit[2])();

static void assemble()
{
	// push rbp; mov rbp, rsp; mov ecx, 1 << 22; 1: dec ecx; jnz 1b; pop rbp; ret
	static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xb9, 0x00, 0x00, 0x40,
					     0x00, 0xff, 0xc9, 0x75, 0xfc, 0x5d, 0xc3};
	auto place = static_cast<char *>(mmap((void *)0x10000000, 4096,
					      PROT_READ | PROT_WRITE | PROT_EXEC,
					      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	char path[64];
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	FILE *map = fopen(path, "w");
	fprintf(map, "%lx %zx Script:~scale\n", (unsigned long)place, sizeof(code));
	fclose(map);
	for (int i = 0; i < 2; i++) {
		memcpy(place + 64 * i, code, sizeof(code));
		jit[i] = reinterpret_cast<void (*)()>(place + 64 * i);
	}
}

static void *mixer(void *)
{
	pthread_setname_np(pthread_self(), "mixer");
	for (double end = now() + 2; now() < end;) {
		jit[0]();
		jit[1]();
		plain_work(1 << 22);
	}
	return nullptr;
}

int main()
{
	pid_t child = fork();
	if (child == 0)
		execl("pastel", "pastel", nullptr);
	assemble();
	pthread_t thread;
	pthread_create(&thread, nullptr, mixer, nullptr);
	for (double end = now() + 2; now() < end;) {
		climb(3);
		draw_lots();
	}
	pthread_join(thread, nullptr);
	waitpid(child, nullptr, 0);
	char path[64];
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	unlink(path);
}
