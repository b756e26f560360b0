/* A library for `stacks plug`. */
__attribute__((noipa)) void turn(void (*callback)(void))
{
	callback();
	__asm__ volatile("");
}
