/*
 * heap.h -- entries, the first one on top: a heap with four children to a node.
 *
 * Invariant: no entry comes before its parent.  Four entries of 16 bytes fill one cache line, so a
 * level of the heap costs one miss.
 */
#ifndef PC_HEAP_H
#define PC_HEAP_H

#include <stdbool.h>

#include "rank_key.h"

typedef struct {
    pc_entry_t *entry; /* the caller's, with room for all files */
    int64_t count;
} pc_heap_t;

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
            best = self->entry[c] < self->entry[best] ? c : best;
        if (self->entry[best] >= entry)
            break;
        self->entry[i] = self->entry[best];
        i = best;
    }
    self->entry[i] = entry;
}

static inline void
pc_heap_push(pc_heap_t *self, pc_entry_t entry)
{
    int64_t i = self->count++;
    while (i > 0 && entry < self->entry[(i - 1) / 4]) {
        self->entry[i] = self->entry[(i - 1) / 4];
        i = (i - 1) / 4;
    }
    self->entry[i] = entry;
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
        sound &= self->entry[i] >= self->entry[(i - 1) / 4];
    return sound;
}

#endif
