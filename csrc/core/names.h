/*
 * names.h -- the names of a recording, and those among them that wait, the first in rank on top.
 *
 * A heap of entries with four children to a node, as heap.h, in which every name knows its slot: a
 * file can go, or come forward, from anywhere.  Invariants: no entry comes before its parent; the
 * name of the entry in slot i has i as its slot, all others have none; and no entry comes behind the
 * one that its name would get now.  So a key that has grown is found out when it comes first.
 */
#ifndef PC_NAMES_H
#define PC_NAMES_H

#include "estimate.h"
#include "rank_key.h"

#define PC_NO_SLOT UINT32_MAX

enum {
    PC_NAME_PRESENT = 1,  /* a file of this name exists */
    PC_NAME_PENDING = 2,  /* and waits; only what exists does */
    PC_NAME_COPIED = 4,   /* what exists was sent before, so a delta will do */
    PC_NAME_SENT = 8,     /* something was sent under this name before, or under its former one */
    PC_NAME_TOUCHED = 16, /* a row of this cycle concerns it */
};

typedef struct {
    int64_t size_bytes;
    int64_t unsent_bytes; /* written since it was last sent; at most INT64_MAX */
    pc_update_t update;
    uint32_t flags;
    uint32_t slot;
} pc_name_t;

typedef struct {
    pc_name_t *name;   /* by file id */
    pc_entry_t *entry; /* with room for all names */
    int64_t count;
} pc_names_t;

/* Read-only files may go before all others: `part` is 0 for those who do. */
static inline pc_entry_t
pc_names_entry(int part, uint64_t key, uint32_t id)
{
    return (pc_entry_t)part << 96 | (pc_entry_t)key << 32 | id;
}

static inline uint32_t
pc_names_id(pc_entry_t entry)
{
    return (uint32_t)entry;
}

static inline void
pc_names_put(pc_names_t *self, int64_t i, pc_entry_t entry)
{
    self->entry[i] = entry;
    self->name[pc_names_id(entry)].slot = (uint32_t)i;
}

/* Let `entry` sink from slot i, whose own entry is lost. */
static inline void
pc_names_sink(pc_names_t *self, int64_t i, pc_entry_t entry)
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
        pc_names_put(self, i, self->entry[best]);
        i = best;
    }
    pc_names_put(self, i, entry);
}

/* The same upwards. */
static inline void
pc_names_rise(pc_names_t *self, int64_t i, pc_entry_t entry)
{
    for (; i > 0 && entry < self->entry[(i - 1) / 4]; i = (i - 1) / 4)
        pc_names_put(self, i, self->entry[(i - 1) / 4]);
    pc_names_put(self, i, entry);
}

/* Let a name wait under this entry, or under the one it has if that comes first. */
static inline void
pc_names_wait(pc_names_t *self, pc_entry_t entry)
{
    uint32_t slot = self->name[pc_names_id(entry)].slot;
    if (slot == PC_NO_SLOT)
        pc_names_rise(self, self->count++, entry);
    else if (entry < self->entry[slot])
        pc_names_rise(self, slot, entry);
}

/* Take a name out, if it is in. */
static inline void
pc_names_take_out(pc_names_t *self, uint32_t id)
{
    int64_t i = self->name[id].slot;
    if (i == PC_NO_SLOT)
        return;
    self->name[id].slot = PC_NO_SLOT;
    pc_entry_t last = self->entry[--self->count];
    if (i == self->count)
        return;
    if (i > 0 && last < self->entry[(i - 1) / 4])
        pc_names_rise(self, i, last);
    else
        pc_names_sink(self, i, last);
}

/* Restore the order after entries have changed in place. */
static inline void
pc_names_rebuild(pc_names_t *self)
{
    for (int64_t i = (self->count - 2) / 4; i >= 0 && self->count > 1; i--)
        pc_names_sink(self, i, self->entry[i]);
}

#endif
