/*
 * pending_replay.h -- the kind of pending set that a recording needs: it takes rows, not writes.
 *
 * A file's place is its id.  A row changes a name and lists it, and no more; heap and sums follow
 * when the cycle is over.  Invariants between cycles: the heap holds the names that are pending;
 * `counted` is what each name adds to the sums, its cost if it is pending to `bytes`, its size if it
 * exists to `present_bytes`.  Rules replay.*.
 */
#ifndef PC_PENDING_REPLAY_H
#define PC_PENDING_REPLAY_H

#include "names.h"
#include "pending.h"

extern const pc_pending_kind_t pc_pending_replay;

typedef struct {
    int64_t cost_bytes, present_bytes;
} pc_counted_t;

typedef struct {
    pc_names_t names;
    pc_counted_t *counted;
    pc_estimate_t estimate; /* but for the updates, which the names have */
    pc_entry_t *fits;       /* only for PC_BUDGET_SKIP */
    const pc_order_t *order;
    bool delta;
} pc_replay_t;

/* A sum, or the most that there is. */
static inline int64_t
pc_add_up_to_most(int64_t a, int64_t b)
{
    return a < INT64_MAX - b ? a + b : INT64_MAX;
}

/* What it costs to send what exists under a name.  Rules cost.*. */
static inline int64_t
pc_replay_cost(const pc_pending_t *self, const pc_name_t *name)
{
    const pc_replay_t *state = self->state;
    if (!state->delta || !(name->flags & PC_NAME_COPIED))
        return name->size_bytes;
    int64_t cost = pc_add_up_to_most(name->unsent_bytes, self->plan->overhead_bytes);
    return cost < name->size_bytes ? cost : name->size_bytes;
}

/* Where a name ranks now. */
static inline pc_entry_t
pc_replay_entry(const pc_pending_t *self, uint32_t id)
{
    const pc_replay_t *state = self->state;
    const pc_name_t *name = &state->names.name[id];
    const pc_policy_t *policy = &self->plan->policy;
    bool scored = state->estimate.scored;
    const pc_terms_t terms = {
        .size_bytes = (uint64_t)name->size_bytes,
        .scored = scored,
        .count = scored ? 0 : (uint64_t)name->update.count,
        .score = scored ? name->update.score : 0.0,
        .own_key = policy->key ? policy->key[id] : 0.0,
    };
    int part = !(policy->read_only_first && self->files->read_only[id]);
    return pc_names_entry(part, state->order->key(&terms), id);
}

/* One cycle's sends. */
void
pc_replay_send(pc_pending_t *self, pc_budget_t *budget);

/* Some of the cycle's rows, in place of write(). */
void
pc_replay_rows(pc_pending_t *self, const pc_rows_t *rows, int64_t first, int64_t count);

#endif
