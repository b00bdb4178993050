/*
 * budget.h -- what is left of a cycle's budget, and what has been sent of it so far.
 *
 * Invariant: left_bytes >= 0, and sent_bytes is the sum of the sizes of all sends; resent_bytes of
 * those of a file that has its bit in `sent` already.
 */
#ifndef PC_BUDGET_H
#define PC_BUDGET_H

#include "precopy.h"
#include "queue.h"

typedef struct {
    pc_budget_rule_t rule;
    int64_t budget_bytes;   /* per cycle */
    int64_t left_bytes;     /* in this cycle */
    int64_t smallest_bytes; /* no file costs less: with less than this left, the sends are over */
    bool blocked;           /* the next file in rank did not fit */
    int64_t sent_bytes;
    int64_t resent_bytes;
    int64_t examined; /* files looked at so far, as a measure of work */
    uint64_t *sent;   /* a bit per place: sent before */
} pc_budget_t;

int
pc_budget_init(pc_budget_t *self, const pc_plan_t *plan, int64_t files, int64_t smallest_bytes);

void
pc_budget_begin_cycle(pc_budget_t *self);

void
pc_budget_free(pc_budget_t *self);

static inline int64_t
pc_sum_of(uint64_t members, const int64_t *bytes)
{
    int64_t sum = 0;
    for (; members; members &= members - 1)
        sum += bytes[pc_lowest_bit(members)];
    return sum;
}

/*
 * Send members of word w while they fit; returns those sent.  `cost_bytes` begins with the word's
 * first place; `bytes` is what all members cost, and then what has been sent.
 */
uint64_t
pc_budget_send_word(pc_budget_t *self, int64_t w, uint64_t members, int64_t *bytes,
                    const int64_t *cost_bytes);

/*
 * Send the files of a queue in the order of their places while they fit, and take them out of it.
 * Returns the sizes of the sent files that are not in `dirty` (a bitmap, or NULL: none is).
 */
int64_t
pc_budget_send_queue(pc_budget_t *self, pc_queue_t *queue, const uint64_t *dirty,
                     const int64_t *size_bytes);

/* What becomes of the next file in rank: it goes now, it is passed over, or the sends end with it. */
typedef enum { PC_OFFER_TAKEN, PC_OFFER_PASSED, PC_OFFER_REFUSED } pc_offer_t;

/* The three budget rules.  Rules budget.*. */
static inline pc_offer_t
pc_budget_offer(pc_budget_t *self, int64_t cost_bytes)
{
    if (cost_bytes <= self->left_bytes) {
        self->left_bytes -= cost_bytes;
        return PC_OFFER_TAKEN;
    }
    /* Passed over, because a smaller one behind it may fit. */
    if (self->rule == PC_BUDGET_SKIP && self->left_bytes >= self->smallest_bytes)
        return PC_OFFER_PASSED;
    self->blocked = true;
    return PC_OFFER_REFUSED;
}

/* Only a file that did not fit saves what is left; an idle link saves nothing. */
static inline int64_t
pc_budget_carried(const pc_budget_t *self)
{
    return self->rule == PC_BUDGET_CARRY && self->blocked ? self->left_bytes : 0;
}

/* Account for one file that has been taken. */
static inline void
pc_budget_sent_one(pc_budget_t *self, int64_t place, int64_t size_bytes)
{
    uint64_t *word = &self->sent[place >> 6];
    self->sent_bytes += size_bytes;
    self->resent_bytes += *word & pc_bit(place) ? size_bytes : 0;
    *word |= pc_bit(place);
}

#endif
