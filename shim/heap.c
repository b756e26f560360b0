/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The preload shim: stands between a program and its allocator, lets everything through, and
 * announces a sample of it by the probes of probes.h. A malloc that is not sampled costs a
 * subtraction, a free a look at one byte; the kernel hears of nothing else.
 *
 * It prints nothing, opens nothing and keeps no lock. Mean bytes between samples come from
 * RPROF_HEAP_RATE; 0 announces every allocation. Anonymous memory that a program maps itself, as
 * Python does for its small objects, is an allocation like any other; what the allocator maps is
 * not, or it would count twice.
 */
#include <stddef.h>
#include <stdint.h>

#include "live.h"
#include "next.h"
#include "probes.h"
#include "sampler.h"

/* Of x86_64, as in linux/mman.h: libc's header may declare mmap under another name. */
#define PROT_NONE 0
#define MAP_ANONYMOUS 0x20
#define MAP_FAILED ((void *)-1)

#define EXPORT __attribute__((visibility("default")))
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* C++'s std::nothrow_t const & and std::align_val_t, as they are passed. */
typedef const void *nothrow;
typedef size_t alignment;

/* What we stand before: result, name, parameters. Names are those of the symbols. */
#define FUNCTIONS(F)                                                                               \
	F(void *, malloc, (size_t))                                                                \
	F(void *, calloc, (size_t, size_t))                                                        \
	F(void *, realloc, (void *, size_t))                                                       \
	F(void, free, (void *))                                                                    \
	F(void, free_sized, (void *, size_t))                                                      \
	F(void, free_aligned_sized, (void *, size_t, size_t))                                      \
	F(int, posix_memalign, (void **, size_t, size_t))                                          \
	F(void *, aligned_alloc, (size_t, size_t))                                                 \
	F(void *, memalign, (size_t, size_t))                                                      \
	F(void *, valloc, (size_t))                                                                \
	F(void *, pvalloc, (size_t))                                                               \
	F(void *, mmap, (void *, size_t, int, int, int, long))                                     \
	F(int, munmap, (void *, size_t))                                                           \
	F(void *, mremap, (void *, size_t, size_t, int, ...))                                      \
	F(void *, _Znwm, (size_t))                                                                 \
	F(void *, _Znam, (size_t))                                                                 \
	F(void *, _ZnwmRKSt9nothrow_t, (size_t, nothrow))                                          \
	F(void *, _ZnamRKSt9nothrow_t, (size_t, nothrow))                                          \
	F(void *, _ZnwmSt11align_val_t, (size_t, alignment))                                       \
	F(void *, _ZnamSt11align_val_t, (size_t, alignment))                                       \
	F(void *, _ZnwmSt11align_val_tRKSt9nothrow_t, (size_t, alignment, nothrow))                \
	F(void *, _ZnamSt11align_val_tRKSt9nothrow_t, (size_t, alignment, nothrow))                \
	F(void, _ZdlPv, (void *))                                                                  \
	F(void, _ZdaPv, (void *))                                                                  \
	F(void, _ZdlPvm, (void *, size_t))                                                         \
	F(void, _ZdaPvm, (void *, size_t))                                                         \
	F(void, _ZdlPvRKSt9nothrow_t, (void *, nothrow))                                           \
	F(void, _ZdaPvRKSt9nothrow_t, (void *, nothrow))                                           \
	F(void, _ZdlPvSt11align_val_t, (void *, alignment))                                        \
	F(void, _ZdaPvSt11align_val_t, (void *, alignment))                                        \
	F(void, _ZdlPvmSt11align_val_t, (void *, size_t, alignment))                               \
	F(void, _ZdaPvmSt11align_val_t, (void *, size_t, alignment))                               \
	F(void, _ZdlPvSt11align_val_tRKSt9nothrow_t, (void *, alignment, nothrow))                 \
	F(void, _ZdaPvSt11align_val_tRKSt9nothrow_t, (void *, alignment, nothrow))

/* Those of the object that comes after us; null for what nobody has, and so nobody can call. */
static struct {
#define MEMBER(result, name, parameters) result(*name) parameters;
	FUNCTIONS(MEMBER)
#undef MEMBER
} next;

/* The object that malloc is in. */
static struct extent allocator;

static __attribute__((noinline, cold)) void find_all(void)
{
	const struct link_map *holder = NULL;

#define FIND(result, name, parameters)                                                             \
	if (!next.name)                                                                            \
		next.name = find_next(#name, &holder);
	FUNCTIONS(FIND)
#undef FIND
	if (find_next("malloc", &holder))
		allocator = extent_of(holder);
}

/* The loader may call before our constructor has run. */
#define NEXT(name)                                                                                 \
	(*({                                                                                       \
		if (unlikely(!next.name))                                                          \
			find_all();                                                                \
		next.name;                                                                         \
	}))

/* Of libc; null until it has looked. */
extern char **environ __attribute__((weak));

static _Atomic bool begun;

static const char *value_of(const char *variable)
{
	for (char **entry = environ; *entry; entry++) {
		const char *name = variable, *at = *entry;

		while (*name && *name == *at)
			name++, at++;
		if (!*name && *at == '=')
			return at + 1;
	}
	return NULL;
}

/* Reads what the environment says. False if it is not there yet. */
static bool begin(void)
{
	const char *digits;
	uint64_t bytes = 0;

	if (atomic_load_explicit(&begun, memory_order_acquire))
		return true;
	if (!&environ || !environ)
		return false;
	digits = value_of("RPROF_HEAP_RATE");
	for (const char *digit = digits; digit && *digit; digit++) {
		if (*digit < '0' || *digit > '9' || bytes > RATE_MAX) {
			digits = NULL;
			break;
		}
		bytes = bytes * 10 + (uint64_t)(*digit - '0');
	}
	set_rate(digits && *digits ? bytes : RATE_DEFAULT);
	if (rate == 0)
		live_all();
	atomic_store_explicit(&begun, true, memory_order_release);
	return true;
}

static __attribute__((constructor)) void start(void)
{
	find_all();
	begin();
}

static __thread struct {
	struct countdown countdown;
	/* What was counted last, and what is being freed: allocators call one another. */
	void *counted, *freeing;
} thread __attribute__((tls_model("initial-exec")));

static __attribute__((noinline, cold)) void *sample(void *p, size_t size)
{
	uint64_t count;

	if (!begin()) {
		thread.countdown.left = 0;
		return p;
	}
	if (rate == 0) {
		thread.countdown.left = 0;
		return size > 0 ? allocated(p, size, size) : p;
	}
	count = crossings(&thread.countdown, size);
	if (count == 0)
		return p;
	live_insert(p);
	return allocated(p, size, weight_of(&thread.countdown, count));
}

/* Counts what the allocator gave, if it gave anything. */
static inline void *count(void *p, size_t size)
{
	if (!p)
		return p;
	thread.counted = p;
	thread.countdown.left -= (int64_t)size;
	return unlikely(thread.countdown.left <= 0) ? sample(p, size) : p;
}

static __attribute__((noinline, cold)) void announce_free(void *p)
{
	if (p != thread.freeing && live_remove(p))
		freed(p);
}

/* Before the memory is given back: somebody else may get it at once. */
static inline void forget(void *p)
{
	if (unlikely(may_be_live(p)))
		announce_free(p);
}

EXPORT void *malloc(size_t size)
{
	return count(NEXT(malloc)(size), size);
}

/* Apart, so that the way of all others needs no stack. */
static __attribute__((noinline, cold)) void free_slowly(void *p)
{
	forget(p);
	NEXT(free)(p);
}

static inline void release(void *p)
{
	if (unlikely(may_be_live(p) || !next.free))
		free_slowly(p);
	else
		next.free(p);
}

EXPORT void free(void *p)
{
	release(p);
}

/*
 * Allocates by a function that may do so by way of another that counts: operator new calls malloc
 * in libstdc++ and does not in jemalloc, calloc does so in musl. It may also throw, so there is
 * nothing to be undone behind it.
 */
#define COUNTED(allocate, size)                                                                    \
	({                                                                                         \
		void *p_;                                                                          \
                                                                                                   \
		thread.counted = NULL;                                                             \
		p_ = (allocate);                                                                   \
		thread.counted == p_ ? p_ : count(p_, size);                                       \
	})

EXPORT void *calloc(size_t number, size_t size)
{
	return COUNTED(NEXT(calloc)(number, size), number * size);
}

/*
 * A realloc is a free and a new allocation, whether it moves or not. One that fails leaves the old
 * block as it was, but unwatched: too large a size is all that is known before.
 */
static void *reallocate(void *old, size_t size)
{
	if (size <= PTRDIFF_MAX)
		forget(old);
	return COUNTED(NEXT(realloc)(old, size), size);
}

EXPORT void *realloc(void *old, size_t size)
{
	return reallocate(old, size);
}

EXPORT void *reallocarray(void *old, size_t number, size_t size)
{
	size_t bytes;

	/* What no allocator has, so that it fails as it does. */
	if (__builtin_mul_overflow(number, size, &bytes))
		bytes = SIZE_MAX;
	return reallocate(old, bytes);
}

EXPORT int posix_memalign(void **p, size_t align, size_t size)
{
	int error;

	thread.counted = NULL;
	error = NEXT(posix_memalign)(p, align, size);
	if (!error && thread.counted != *p)
		count(*p, size);
	return error;
}

EXPORT void *aligned_alloc(size_t align, size_t size)
{
	return COUNTED(NEXT(aligned_alloc)(align, size), size);
}

EXPORT void *memalign(size_t align, size_t size)
{
	return COUNTED(NEXT(memalign)(align, size), size);
}

EXPORT void *valloc(size_t size)
{
	return COUNTED(NEXT(valloc)(size), size);
}

EXPORT void *pvalloc(size_t size)
{
	return COUNTED(NEXT(pvalloc)(size), size);
}

/* The same for frees: operator delete calls free in libstdc++. */
#define ANNOUNCED(p, call)                                                                         \
	do {                                                                                       \
		if (unlikely(may_be_live(p))) {                                                    \
			announce_free(p);                                                          \
			thread.freeing = p;                                                        \
			call;                                                                      \
			thread.freeing = NULL;                                                     \
		} else {                                                                           \
			call;                                                                      \
		}                                                                                  \
	} while (0)

#define BY_ALLOCATOR ((uintptr_t)__builtin_return_address(0) - allocator.start < allocator.size)

/* Address space that is only reserved, or backed by a file, is no memory. */
EXPORT void *mmap(void *at, size_t size, int protection, int flags, int file, long offset)
{
	void *p = NEXT(mmap)(at, size, protection, flags, file, offset);

	if (p == MAP_FAILED || protection == PROT_NONE || !(flags & MAP_ANONYMOUS) || BY_ALLOCATOR)
		return p;
	return count(p, size);
}

/* The name of it for programs with _FILE_OFFSET_BITS=64, which is the same on x86_64. */
EXPORT void *mmap64(void *, size_t, int, int, int, long) __attribute__((alias("mmap")));

EXPORT int munmap(void *p, size_t size)
{
	if (unlikely(may_be_live(p)) && !BY_ALLOCATOR)
		announce_free(p);
	return NEXT(munmap)(p, size);
}

/* As realloc. The fifth argument is where to, for some flags; else it is whatever is there. */
EXPORT void *mremap(void *old, size_t old_size, size_t size, int flags, ...)
{
	__builtin_va_list arguments;
	void *to, *p;

	__builtin_va_start(arguments, flags);
	to = __builtin_va_arg(arguments, void *);
	__builtin_va_end(arguments);
	if (BY_ALLOCATOR)
		return NEXT(mremap)(old, old_size, size, flags, to);
	forget(old);
	p = NEXT(mremap)(old, old_size, size, flags, to);
	return p == MAP_FAILED ? p : count(p, size);
}

/* C23, which few libraries have yet. */
EXPORT void free_sized(void *p, size_t size)
{
	if (next.free_sized)
		ANNOUNCED(p, next.free_sized(p, size));
	else
		release(p);
}

EXPORT void free_aligned_sized(void *p, size_t align, size_t size)
{
	if (next.free_aligned_sized)
		ANNOUNCED(p, next.free_aligned_sized(p, align, size));
	else
		release(p);
}

#define NEW(name, parameters, arguments)                                                           \
	EXPORT void *name parameters                                                               \
	{                                                                                          \
		return COUNTED(NEXT(name) arguments, size);                                        \
	}

NEW(_Znwm, (size_t size), (size))
NEW(_Znam, (size_t size), (size))
NEW(_ZnwmRKSt9nothrow_t, (size_t size, nothrow tag), (size, tag))
NEW(_ZnamRKSt9nothrow_t, (size_t size, nothrow tag), (size, tag))
NEW(_ZnwmSt11align_val_t, (size_t size, alignment align), (size, align))
NEW(_ZnamSt11align_val_t, (size_t size, alignment align), (size, align))
NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, (size_t size, alignment align, nothrow tag),
    (size, align, tag))
NEW(_ZnamSt11align_val_tRKSt9nothrow_t, (size_t size, alignment align, nothrow tag),
    (size, align, tag))

#define DELETE(name, parameters, arguments)                                                        \
	EXPORT void name parameters                                                                \
	{                                                                                          \
		ANNOUNCED(p, NEXT(name) arguments);                                                \
	}

DELETE(_ZdlPv, (void *p), (p))
DELETE(_ZdaPv, (void *p), (p))
DELETE(_ZdlPvm, (void *p, size_t size), (p, size))
DELETE(_ZdaPvm, (void *p, size_t size), (p, size))
DELETE(_ZdlPvRKSt9nothrow_t, (void *p, nothrow tag), (p, tag))
DELETE(_ZdaPvRKSt9nothrow_t, (void *p, nothrow tag), (p, tag))
DELETE(_ZdlPvSt11align_val_t, (void *p, alignment align), (p, align))
DELETE(_ZdaPvSt11align_val_t, (void *p, alignment align), (p, align))
DELETE(_ZdlPvmSt11align_val_t, (void *p, size_t size, alignment align), (p, size, align))
DELETE(_ZdaPvmSt11align_val_t, (void *p, size_t size, alignment align), (p, size, align))
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, (void *p, alignment align, nothrow tag),
       (p, align, tag))
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, (void *p, alignment align, nothrow tag),
       (p, align, tag))
