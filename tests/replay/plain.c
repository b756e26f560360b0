// A library without symbols: of its two functions, one is exported.
static volatile unsigned result;

__attribute__((noinline, noipa)) static void hidden(unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++)
		result += i;
}

__attribute__((visibility("default"))) void plain_work(unsigned rounds)
{
	hidden(rounds);
	result++;
}
