/*
 * ledger.h -- what a run remembers of each file only where an option asks for it: how often it was
 * sent and written, whether it is held out until the final copy, and what it costs.
 *
 * A kind of pending set offers a file only if it is not held out, and tells the ledger what it
 * sends; without such an option there is no ledger.  Invariants: a file that is held out is pending
 * and in no rank; one that is held out by its rate, and not for good, waits in `back`, under a cycle
 * before which its rate is too high, even if it is never written again; `bytes` is the sum of what all
 * pending files cost, and a file that is not pending has a cost of 0.
 */
#ifndef PC_LEDGER_H
#define PC_LEDGER_H

#include "bitset.h"
#include "heap.h"
#include "precopy.h"

/* All arrays are by place, and NULL without their option. */
typedef struct {
    const pc_plan_t *plan;
    const int64_t *size_bytes;
    int64_t cycle;       /* the current one, from 1 */
    int64_t *sends;      /* only for max_sends */
    int64_t *writes;     /* only for max_update_rate */
    double most;         /* writes that a file may have to be ranked in this cycle */
    pc_heap_t back;      /* held out by their rate, by the cycle in which they may come back */
    uint64_t *out;       /* a bit per file that is held out */
    int64_t *cost_bytes; /* only for deltas */
    int64_t bytes;
    const int64_t *trace_bytes; /* what the writes to come write; NULL: all the same */
} pc_ledger_t;

static inline bool
pc_ledger_wanted(const pc_plan_t *plan)
{
    return plan->max_sends > 0 || plan->max_update_rate > 0.0 || plan->cost == PC_COST_DELTA;
}

/* All files pending, none sent before; sizes by place. */
int
pc_ledger_init(pc_ledger_t *self, const pc_plan_t *plan, int64_t files, const int64_t *size_bytes,
               int64_t total_bytes);

void
pc_ledger_free(pc_ledger_t *self);

/* Some of the cycle's writes. */
void
pc_ledger_write(pc_ledger_t *self, const uint32_t *place, int64_t count);

/* Begin a cycle's sends. */
void
pc_ledger_begin_cycle(pc_ledger_t *self);

/* The next of the files that are no longer held out in this cycle; false if there is none left. */
bool
pc_ledger_comes_back(pc_ledger_t *self, uint32_t *place);

/* Whether a file that would be offered is held out by its rate from now on. */
bool
pc_ledger_holds_out(pc_ledger_t *self, uint32_t place);

/* What it costs to send a pending file. */
static inline int64_t
pc_ledger_cost(const pc_ledger_t *self, uint32_t place)
{
    return self->cost_bytes ? self->cost_bytes[place] : self->size_bytes[place];
}

/* A file has been sent for what it costs. */
static inline void
pc_ledger_sent(pc_ledger_t *self, uint32_t place, int64_t cost_bytes)
{
    if (self->sends)
        self->sends[place]++;
    if (self->cost_bytes) {
        self->bytes -= cost_bytes;
        self->cost_bytes[place] = 0;
    }
}

/* Whether a file that was written stays out of the rank: it is held out already, or was sent often
 * enough. */
bool
pc_ledger_keeps_out(pc_ledger_t *self, uint32_t place);

#endif
