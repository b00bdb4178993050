/*
 * memory.c -- allocation of large arrays.
 *
 * Large arrays are mapped freshly, so that nothing is touched, nor has a page of any size, before a
 * run needs it; so the advice is in time.
 */
#define _DEFAULT_SOURCE

#include <stdlib.h>

#include "memory.h"

#ifdef __linux__
#include <sys/mman.h>

#define LARGE ((size_t)4 << 20)
#define PAGE ((uintptr_t)4096)

static void
advise(void *memory, size_t bytes)
{
    uintptr_t first = ((uintptr_t)memory + PAGE - 1) & ~(PAGE - 1);
    uintptr_t end = ((uintptr_t)memory + bytes) & ~(PAGE - 1);
    if (bytes >= LARGE)
        madvise((void *)first, end - first, MADV_HUGEPAGE);
}
#else
static void
advise(void *memory, size_t bytes)
{
    (void)memory;
    (void)bytes;
}
#endif

/* Sizes cannot overflow: there are at most 2^33 entries, none of more than some hundred bytes. */
void *
pc_allocate(int64_t count, size_t size)
{
    void *memory = malloc((size_t)count * size);
    if (memory)
        advise(memory, (size_t)count * size);
    return memory;
}

void *
pc_allocate_zeroed(int64_t count, size_t size)
{
    void *memory = calloc((size_t)count, size);
    if (memory)
        advise(memory, (size_t)count * size);
    return memory;
}
