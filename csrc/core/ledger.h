/*
 * ledger.h -- what a run remembers of each file only where an option asks for it: how often it was
 * sent and written, whether it is held out until the final copy, and what it costs.
 *
 * A kind of pending set offers a file only if it is not held out, and tells the ledger what it
 * sends; without such an option there is no ledger.  Invariants: a file that is held out is pending
 * and in no rank; one that is held out by its rate, and not for good, waits in the list of a cycle
 * before which its rate is too high, even if it is never written again; `bytes` is the sum of what all
 * pending files cost, and a file that is not pending has a cost of 0.
 */
#ifndef PC_LEDGER_H
#define PC_LEDGER_H

#include "bitset.h"
#include "precopy.h"

/* All arrays are by place, and NULL without their option. */
typedef struct {
    const pc_plan_t *plan;
    const int64_t *size_bytes;
    int64_t cycle;     /* the current one, from 1 */
    int64_t *sends;    /* only for max_sends: counted when a file is pending again */
    int64_t *writes;   /* only for max_update_rate, as are all to `next` */
    int64_t most;      /* writes that a file may have to be ranked in this cycle */
    int64_t most_next; /* the same in the next cycle */
    uint32_t *heated;  /* a list, by words: those who are too hot since this cycle; one too many */
    int64_t heated_count;
    uint64_t *suspect; /* by words, a bit each; files in rank without it are not too hot */
    uint32_t *back;    /* by cycle, not by place: the first of the files that wait for it, plus 1 */
    uint32_t *next;    /* the file behind this one in its cycle's list, plus 1; 0: the last */
    uint64_t *out;     /* a bit per file that is held out */
    int64_t *cost_bytes; /* only for deltas */
    int64_t bytes;
    const int64_t *trace_bytes; /* what the writes to come write; NULL: all the same */
} pc_ledger_t;

static inline bool
pc_ledger_wanted(const pc_plan_t *plan)
{
    return plan->max_sends > 0 || plan->max_update_rate > 0.0 || plan->cost == PC_COST_DELTA;
}

/* All files pending, none sent before; sizes by place.  By word: files are held out 64 at a time. */
int
pc_ledger_init(pc_ledger_t *self, const pc_plan_t *plan, int64_t files, const int64_t *size_bytes,
               int64_t total_bytes, bool by_word);

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

/* The same for all members of a word, of a ledger by words; returns those that are. */
uint64_t
pc_ledger_hold_out_of_word(pc_ledger_t *self, int64_t w, uint64_t members);

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
    if (self->cost_bytes) {
        self->bytes -= cost_bytes;
        self->cost_bytes[place] = 0;
    }
}

/* The same for some members of a word. */
static inline void
pc_ledger_sent_word(pc_ledger_t *self, int64_t w, uint64_t sent)
{
    for (; sent; sent &= sent - 1) {
        uint32_t place = (uint32_t)(64 * w + pc_lowest_bit(sent));
        pc_ledger_sent(self, place, pc_ledger_cost(self, place));
    }
}

static inline bool
pc_ledger_is_out(const pc_ledger_t *self, uint32_t place)
{
    return self->out[place >> 6] & pc_bit(place);
}

/* Whether a file that is pending again, and so has been sent once more, is held out from now on. */
static inline bool
pc_ledger_keeps_out(pc_ledger_t *self, uint32_t place)
{
    if (!self->sends || ++self->sends[place] < self->plan->max_sends)
        return false;
    self->out[place >> 6] |= pc_bit(place);
    return true;
}

#endif
