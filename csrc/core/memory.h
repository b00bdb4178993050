/*
 * memory.h -- arrays of one entry per file, on huge pages where they are large.
 *
 * Runs access such arrays at random.  With pages of 4 kB nearly every access to a large array misses
 * the TLB as well as the cache, and setting up pays for each page; with pages of 2 MB neither.
 */
#ifndef PC_MEMORY_H
#define PC_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Memory for count entries of size bytes, or NULL; to be freed with free(). */
void *
pc_allocate(int64_t count, size_t size);

/* The same, zeroed. */
void *
pc_allocate_zeroed(int64_t count, size_t size);

#endif
