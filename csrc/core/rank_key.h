/*
 * rank_key.h -- keys as integers, and a waiting file as one number: key, then id, then where it waits.
 *
 * Entries compare as the model ranks files (rule cycle.rank), by key and then by id, with a single comparison of integers
 * and so without a branch.  The source is no part of the order: ids differ before it counts.
 */
#ifndef PC_RANK_KEY_H
#define PC_RANK_KEY_H

#include <string.h>

#include "precopy.h"

/* Doubles as integers of the same order; -0.0 equals 0.0. */
static inline uint64_t
pc_ordered_bits(double value)
{
    uint64_t bits;
    value += 0.0;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

__extension__ typedef unsigned __int128 pc_entry_t;

/* After all entries: there is no file. */
#define PC_NO_ENTRY (~(pc_entry_t)0)

static inline pc_entry_t
pc_entry(uint64_t key, uint32_t id, int source)
{
    return (pc_entry_t)key << 64 | (uint64_t)id << 32 | (uint32_t)source;
}

static inline uint64_t
pc_entry_key(pc_entry_t entry)
{
    return (uint64_t)(entry >> 64);
}

static inline uint32_t
pc_entry_id(pc_entry_t entry)
{
    return (uint32_t)(entry >> 32);
}

static inline int
pc_entry_source(pc_entry_t entry)
{
    return (int)(uint32_t)entry;
}

static inline pc_entry_t
pc_entry_first(pc_entry_t a, pc_entry_t b)
{
    return a < b ? a : b;
}

#endif
