/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The allocator that the process would use without us: what dlsym(RTLD_NEXT) finds, but found by
 * hand in the loader's list of objects. dlsym allocates memory itself, and stands in a library of
 * its own before glibc 2.34; this needs no function of anybody's, so the same file works with every
 * glibc and with musl. Formats: System V gABI chapter 5, GNU hash tables as glibc's elf/dl-lookup.c
 * reads them.
 */
#ifndef RPROF_NEXT_H
#define RPROF_NEXT_H

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The loader's list of objects, as glibc and as musl publish it. */
extern struct r_debug glibc_list __asm__("_r_debug") __attribute__((weak));
extern struct r_debug *musl_list __asm__("_dl_debug_addr") __attribute__((weak));
/* Our own dynamic section, which tells us from others in that list. */
extern ElfW(Dyn) _DYNAMIC[] __attribute__((visibility("hidden")));

/* VERSYM_HIDDEN of glibc's elf/dl-lookup.c: not the default version of a symbol. */
#define HIDDEN 0x8000

/* The tables of one object. */
struct object {
	uintptr_t base;
	const ElfW(Sym) * symbols;
	const char *strings;
	const uint16_t *versions;
	const uint32_t *gnu_hash;
	const uint32_t *hash;
};

/* glibc adds the object's base to the addresses in place; musl does not, nor anybody to the vdso's.
 */
static const void *table(uintptr_t base, uintptr_t address)
{
	return (const void *)(address < base ? base + address : address);
}

static struct object object_of(const struct link_map *map)
{
	struct object object = {.base = map->l_addr};

	for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
		const void *at = table(map->l_addr, entry->d_un.d_ptr);

		switch (entry->d_tag) {
		case DT_SYMTAB:
			object.symbols = at;
			break;
		case DT_STRTAB:
			object.strings = at;
			break;
		case DT_VERSYM:
			object.versions = at;
			break;
		case DT_GNU_HASH:
			object.gnu_hash = at;
			break;
		case DT_HASH:
			object.hash = at;
			break;
		}
	}
	return object;
}

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* The address of symbol number `index`, if it is a function of that name. */
static void *function(const struct object *object, uint32_t index, const char *name)
{
	const ElfW(Sym) *symbol = &object->symbols[index];
	int type = ELF64_ST_TYPE(symbol->st_info);
	void *address = (void *)(object->base + symbol->st_value);

	if (symbol->st_shndx == SHN_UNDEF || (type != STT_FUNC && type != STT_GNU_IFUNC))
		return NULL;
	if (object->versions && object->versions[index] & HIDDEN)
		return NULL;
	if (!same(object->strings + symbol->st_name, name))
		return NULL;
	return type == STT_GNU_IFUNC ? ((void *(*)(void))address)() : address;
}

static void *by_gnu_hash(const struct object *object, const char *name)
{
	uint32_t buckets = object->gnu_hash[0], first = object->gnu_hash[1];
	const uint32_t *bucket = object->gnu_hash + 4 + 2 * object->gnu_hash[2];
	const uint32_t *chain = bucket + buckets;
	uint32_t hash = 5381;

	for (const char *c = name; *c; c++)
		hash = hash * 33 + (unsigned char)*c;
	if (buckets == 0 || bucket[hash % buckets] < first)
		return NULL;
	for (uint32_t index = bucket[hash % buckets];; index++) {
		uint32_t other = chain[index - first];
		void *found = (other | 1) == (hash | 1) ? function(object, index, name) : NULL;

		if (found || other & 1)
			return found;
	}
}

static void *by_hash(const struct object *object, const char *name)
{
	uint32_t count = object->hash[1];

	for (uint32_t index = 1; index < count; index++) {
		void *found = function(object, index, name);

		if (found)
			return found;
	}
	return NULL;
}

/* The first object that was loaded after us. */
static const struct link_map *behind_us(void)
{
	const struct r_debug *list = &glibc_list;
	const struct link_map *map;

	if (!list)
		list = &musl_list ? musl_list : NULL;
	map = list ? list->r_map : NULL;
	while (map && map->l_ld != _DYNAMIC)
		map = map->l_next;
	return map ? map->l_next : NULL;
}

/* What `name` means in the objects that were loaded after us, and which of them has it. */
static void *find_next(const char *name, const struct link_map **holder)
{
	for (const struct link_map *map = behind_us(); map; map = map->l_next) {
		struct object object = object_of(map);
		void *found = NULL;

		if (!object.symbols || !object.strings)
			continue;
		if (object.gnu_hash)
			found = by_gnu_hash(&object, name);
		else if (object.hash)
			found = by_hash(&object, name);
		if (found) {
			*holder = map;
			return found;
		}
	}
	return NULL;
}

/* Where an object is in memory. */
struct extent {
	uintptr_t start, size;
};

static struct extent extent_of(const struct link_map *map)
{
	struct extent extent = {map->l_addr, 0};
	const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)map->l_addr;
	const ElfW(Phdr) * part;

	/* An object that is not where its file begins has been prelinked; none is any more. */
	if (!header)
		return extent;
	part = (const ElfW(Phdr) *)(map->l_addr + header->e_phoff);
	for (int i = 0; i < header->e_phnum; i++) {
		uintptr_t end = part[i].p_vaddr + part[i].p_memsz;

		if (part[i].p_type == PT_LOAD && end > extent.size)
			extent.size = end;
	}
	return extent;
}

#endif
