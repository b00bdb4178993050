/*
 * link.h -- the link: what is left of a cycle's budget, and what has gone over it.
 *
 * Invariant: left_bytes >= 0, and sent_bytes is the sum of the sizes of all sends; resent_bytes of
 * those of a file that has its bit in `sent` already.
 */
#ifndef PC_LINK_H
#define PC_LINK_H

#include "precopy.h"
#include "queue.h"

typedef struct {
    pc_budget_rule_t rule;
    int64_t budget_bytes;   /* per cycle */
    int64_t left_bytes;     /* in this cycle */
    int64_t smallest_bytes; /* of all files: with less than this left, the cycle's sends are over */
    bool blocked;           /* the next file in rank did not fit */
    int64_t sent_bytes;
    int64_t resent_bytes;
    int64_t examined; /* files looked at so far, as a measure of work */
    uint64_t *sent;   /* a bit per place: sent before */
} pc_link_t;

int
pc_link_init(pc_link_t *self, const pc_plan_t *plan, int64_t files, int64_t smallest_bytes);

void
pc_link_begin_cycle(pc_link_t *self);

void
pc_link_free(pc_link_t *self);

/*
 * Send the files of a queue in the order of their places while they fit, and take them out of it.
 * Returns the sizes of the sent files that are not in `dirty` (a bitmap, or NULL: none is).
 */
int64_t
pc_link_send_queue(pc_link_t *self, pc_queue_t *queue, const uint64_t *dirty,
                   const int64_t *size_bytes);

/* Whether a file that does not fit is passed over, because a smaller one behind it may fit. */
static inline bool
pc_link_passes_over(const pc_link_t *self)
{
    return self->rule == PC_BUDGET_SKIP && self->left_bytes >= self->smallest_bytes;
}

/* Account for one file that fits. */
static inline void
pc_link_send_one(pc_link_t *self, int64_t place, int64_t size_bytes)
{
    uint64_t *word = &self->sent[place >> 6];
    self->left_bytes -= size_bytes;
    self->sent_bytes += size_bytes;
    self->resent_bytes += *word & pc_bit(place) ? size_bytes : 0;
    *word |= pc_bit(place);
}

#endif
