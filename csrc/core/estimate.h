/*
 * estimate.h -- how often each file is updated, as the keys of a dynamic order see it.
 *
 * Three estimates share one interface: the count since the start, the count of the last cycle, and
 * a count whose older cycles weigh less.  For orders by the last write, the cycle of it stands in
 * place of the count; and an oracle knows the true shares.  The weighted count never decays in place, which would
 * cost a visit per file and cycle: newer writes weigh more instead, 2^(c / half-life) in cycle
 * c = 1, 2, ... (the history weighs 1), and the order is the same.  Before weights can overflow, all
 * scores are scaled down by a power of two.
 */
#ifndef PC_ESTIMATE_H
#define PC_ESTIMATE_H

#include <math.h>
#include <string.h>

#include "precopy.h"

/* Weights stay below 2^512, so that no sum of them overflows. */
#define PC_WEIGHT_BITS 512

typedef union {
    int64_t count; /* since the start, or of the last cycle; or the cycle of the last write */
    double score;  /* exponentially weighted, or the true share */
} pc_update_t;

typedef struct {
    pc_frequency_t frequency;
    bool scored;                /* updates are scores */
    bool last_write;            /* updates are cycles, and no counts */
    const int64_t *times_bytes; /* by file id: keys are updates times these; NULL: updates alone */
    pc_update_t *update;        /* by file id */
    double half_life_cycles;
    int64_t cycle;      /* the current one, from 1 */
    double scaled_bits; /* all scores have been divided by 2 to this power */
    double weight;      /* of a write in the current cycle */
} pc_estimate_t;

/*
 * Begin a cycle's writes; returns how often all scores must be scaled down by 2^PC_WEIGHT_BITS.
 * At most 100 bits are gained in a cycle, and a process has no room to record 2^44 cycles, so the
 * bits stay far below 2^62, where a double no longer tells 512 apart.
 */
static inline int
pc_estimate_begin_cycle(pc_estimate_t *self)
{
    int scalings = 0;
    self->cycle++;
    if (self->frequency != PC_FREQUENCY_EXPONENTIAL)
        return 0;
    double bits = (double)self->cycle / self->half_life_cycles;
    for (; bits - self->scaled_bits >= PC_WEIGHT_BITS; scalings++)
        self->scaled_bits += PC_WEIGHT_BITS;
    self->weight = exp2(bits - self->scaled_bits);
    return scalings;
}

/* Positive doubles compare like their bits. */
static inline uint64_t
pc_estimate_key(const pc_estimate_t *self, uint32_t id)
{
    if (!self->scored) {
        uint64_t count = (uint64_t)self->update[id].count;
        return self->times_bytes ? count * (uint64_t)self->times_bytes[id] : count;
    }
    double key = self->update[id].score * (self->times_bytes ? (double)self->times_bytes[id] : 1.0);
    uint64_t bits;
    memcpy(&bits, &key, sizeof bits);
    return bits;
}

#endif
