/*
 * rows.h -- the state of a pending set whose keys move with every write: rows, and a heap.
 *
 * A file's place is its id.  Files with the same small update count u share row u, a bitset in the
 * order of their keys; so a row needs no keys, and the next file of all is the least of the rows'
 * first members.  Files whose estimate is no small count wait in a heap.
 *
 * Invariant: every pending file is in exactly one of read_only, the rows and the heap, and the key
 * under which it waits there is never above its true key.  A write to a file that is pending
 * already moves nothing: a stale key is found out and repaired when it comes first.  The last-cycle
 * estimate can also fall; there every file that was written is moved at the end of the cycle, and
 * back to row 0 one cycle later.
 */
#ifndef PC_ROWS_H
#define PC_ROWS_H

#include "estimate.h"
#include "tournament.h"
#include "heap.h"
#include "pending.h"

/*
 * A row costs n / 8 bytes; files with as many updates rarely come first.  With the heap as one more
 * source, sources fill a word of bits and a tree of heads.
 */
#define PC_ROWS 63
#define PC_HEAP PC_ROWS

typedef struct {
    pc_estimate_t estimate;
    pc_ranking_t by_size;     /* members of the rows above 0 when keys depend on the size */
    uint64_t *memory;         /* of all bitmaps below */
    uint64_t *pending;        /* a bit per file in the rows or the heap */
    pc_queue_t read_only;     /* read-only files that go before all others */
    pc_bitset_t row[PC_ROWS]; /* row 0 by id, the others by key */
    int rows;
    uint64_t occupied; /* a bit per row; rows without it are empty */
    pc_heap_t heap;
    pc_tournament_t heads; /* of rows and heap, while files are sent */
    uint32_t *aside;       /* files passed over in this cycle */
    int64_t aside_count;
    int64_t phase; /* of the writes, the next whose shares an oracle will learn */
} pc_dynamic_t;

/* The row where a file belongs by its estimate, or PC_HEAP. */
static inline int
pc_dynamic_row(const pc_dynamic_t *self, uint32_t id)
{
    pc_update_t update = self->estimate.update[id];
    if (self->estimate.scored)
        return update.score > 0.0 ? PC_HEAP : 0;
    return update.count < PC_ROWS ? (int)update.count : PC_HEAP;
}

static inline int64_t
pc_dynamic_member(const pc_dynamic_t *self, int row, uint32_t id)
{
    return row > 0 && self->by_size.rank_of ? self->by_size.rank_of[id] : id;
}

static inline uint32_t
pc_dynamic_id(const pc_dynamic_t *self, int row, int64_t member)
{
    return row > 0 && self->by_size.id_at ? self->by_size.id_at[member] : (uint32_t)member;
}

/* The key under which a file waits in a row. */
static inline pc_entry_t
pc_dynamic_entry(const pc_dynamic_t *self, int row, uint32_t id)
{
    const int64_t *times = self->estimate.times_bytes;
    return pc_entry((uint64_t)row * (times ? (uint64_t)times[id] : 1), id, row);
}

/* Put a pending file where it belongs by its estimate; returns its row or PC_HEAP. */
static inline int
pc_dynamic_insert(pc_dynamic_t *self, uint32_t id)
{
    int row = pc_dynamic_row(self, id);
    if (row == PC_HEAP) {
        uint64_t key = pc_estimate_key(&self->estimate, id);
        pc_heap_push(&self->heap, pc_entry(key, id, PC_HEAP));
    } else {
        pc_bitset_insert(&self->row[row], pc_dynamic_member(self, row, id));
        self->occupied |= pc_bit(row);
    }
    return row;
}

/* One cycle's sends, in the order of the keys as they stand. */
void
pc_dynamic_send(pc_pending_t *pending, pc_budget_t *budget);

#endif
