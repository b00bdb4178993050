/*
 * heap.h -- files by (key, id), the smallest first: a heap with four children to a node.
 *
 * Invariant: no entry comes before its parent.  Four entries of 16 bytes fill one cache line, so a
 * level of the heap costs one miss.
 */
#ifndef PC_HEAP_H
#define PC_HEAP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t key;
    uint32_t id;
    uint32_t source; /* where the file waits; no part of the order */
} pc_entry_t;

typedef struct {
    pc_entry_t *entry; /* the caller's, with room for all files */
    int64_t count;
} pc_heap_t;

static inline bool
pc_entry_before(pc_entry_t a, pc_entry_t b)
{
    return (a.key < b.key) | ((a.key == b.key) & (a.id < b.id)); /* no branch */
}

/* Let `entry` sink from position i, whose own entry is lost. */
static inline void
pc_heap_sink(pc_heap_t *self, int64_t i, pc_entry_t entry)
{
    for (;;) {
        int64_t child = 4 * i + 1, best = child;
        int64_t end = child + 4 < self->count ? child + 4 : self->count;
        if (child >= end)
            break;
        for (int64_t c = child + 1; c < end; c++)
            best = pc_entry_before(self->entry[c], self->entry[best]) ? c : best;
        if (!pc_entry_before(self->entry[best], entry))
            break;
        self->entry[i] = self->entry[best];
        i = best;
    }
    self->entry[i] = entry;
}

/* Let `entry` rise from position i, whose own entry is lost. */
static inline void
pc_heap_rise(pc_heap_t *self, int64_t i, pc_entry_t entry)
{
    while (i > 0 && pc_entry_before(entry, self->entry[(i - 1) / 4])) {
        self->entry[i] = self->entry[(i - 1) / 4];
        i = (i - 1) / 4;
    }
    self->entry[i] = entry;
}

static inline void
pc_heap_push(pc_heap_t *self, pc_entry_t entry)
{
    pc_heap_rise(self, self->count++, entry);
}

static inline void
pc_heap_pop(pc_heap_t *self)
{
    pc_entry_t last = self->entry[--self->count];
    if (self->count > 0)
        pc_heap_sink(self, 0, last);
}

/* Restore the invariant after keys have changed in place. */
static inline void
pc_heap_rebuild(pc_heap_t *self)
{
    for (int64_t i = (self->count - 2) / 4; i >= 0 && self->count > 1; i--)
        pc_heap_sink(self, i, self->entry[i]);
}

static inline bool
pc_heap_verify(const pc_heap_t *self)
{
    bool sound = true;
    for (int64_t i = 1; i < self->count; i++)
        sound &= !pc_entry_before(self->entry[i], self->entry[(i - 1) / 4]);
    return sound;
}

#endif
