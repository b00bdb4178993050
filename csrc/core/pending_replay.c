/*
 * pending_replay.c -- pending files while a recording is replayed: files come, go, grow, shrink and
 * are renamed.
 *
 * A file's place is its id.  A row changes a name and no more; names that rows have touched are
 * listed, and what they add to the sums is taken out of these until the cycle is over.  Invariants
 * between cycles: the heap holds the names that are pending; `bytes` is the sum of what those cost,
 * `present_bytes` of the sizes of those that exist.  Rules replay.*.
 */
#include "heap.h"
#include "memory.h"
#include "names.h"
#include "pending_replay.h"

#include <stdlib.h>

/* From this many files on, names do not stay in the cache between rows. */
#define LARGE (1 << 14)

typedef struct {
    pc_names_t names;
    pc_estimate_t estimate; /* but for the updates, which the names have */
    pc_entry_t *fits;       /* only for PC_BUDGET_SKIP */
    const pc_order_t *order;
    bool delta;
} replay_t;

static inline int64_t
add_up_to_most(int64_t a, int64_t b)
{
    return a < INT64_MAX - b ? a + b : INT64_MAX;
}

static inline int64_t
cost_of(const pc_pending_t *self, const pc_name_t *name)
{
    const replay_t *state = self->state;
    if (!state->delta || !(name->flags & PC_NAME_COPIED))
        return name->size_bytes;
    int64_t cost = add_up_to_most(name->unsent_bytes, self->plan->overhead_bytes);
    return cost < name->size_bytes ? cost : name->size_bytes;
}

/* What a name adds to the sums, or, by -1, takes away. */
static inline void
account(pc_pending_t *self, const pc_name_t *name, int sign)
{
    self->present_bytes += name->flags & PC_NAME_PRESENT ? sign * name->size_bytes : 0;
    self->bytes += name->flags & PC_NAME_PENDING ? sign * cost_of(self, name) : 0;
}

/* Where a name ranks now. */
static pc_entry_t
entry_of(const pc_pending_t *self, uint32_t id)
{
    const replay_t *state = self->state;
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

static inline pc_name_t *
touch(pc_pending_t *self, uint32_t id)
{
    pc_name_t *name = &((replay_t *)self->state)->names.name[id];
    if (!(name->flags & PC_NAME_TOUCHED)) {
        account(self, name, -1);
        name->flags |= PC_NAME_TOUCHED;
        self->fresh[self->fresh_count++] = id;
    }
    return name;
}

static void
send_one(pc_pending_t *self, pc_budget_t *budget, uint32_t id, int64_t cost)
{
    replay_t *state = self->state;
    pc_name_t *name = &state->names.name[id];
    pc_names_take_out(&state->names, id);
    budget->sent_bytes += cost;
    budget->resent_bytes += name->flags & PC_NAME_SENT ? cost : 0;
    self->bytes -= cost;
    name->flags = (name->flags & ~(uint32_t)PC_NAME_PENDING) | PC_NAME_SENT | PC_NAME_COPIED;
    name->unsent_bytes = 0;
}

/*
 * One did not fit and is passed over.  Neither will others that cost more than what is left, which
 * only gets less: so the rest is looked at once, and few are ranked again.
 */
static void
send_what_fits(pc_pending_t *self, pc_budget_t *budget)
{
    replay_t *state = self->state;
    pc_heap_t fits = {state->fits, 0};
    budget->examined += state->names.count;
    for (int64_t i = 0; i < state->names.count; i++) {
        uint32_t id = pc_names_id(state->names.entry[i]);
        if (cost_of(self, &state->names.name[id]) <= budget->left_bytes)
            fits.entry[fits.count++] = entry_of(self, id);
    }
    pc_heap_rebuild(&fits);
    for (; fits.count > 0; pc_heap_pop(&fits)) {
        uint32_t id = pc_names_id(fits.entry[0]);
        int64_t cost = cost_of(self, &state->names.name[id]);
        if (pc_budget_offer(budget, cost) == PC_OFFER_TAKEN)
            send_one(self, budget, id, cost);
    }
}

static void
send_in_rank(pc_pending_t *self, pc_budget_t *budget)
{
    pc_names_t *names = &((replay_t *)self->state)->names;
    while (names->count > 0 && !budget->blocked) {
        pc_entry_t top = names->entry[0], now = entry_of(self, pc_names_id(top));
        budget->examined++;
        if (now != top) {
            pc_names_sink(names, 0, now);
            continue;
        }
        uint32_t id = pc_names_id(top);
        int64_t cost = cost_of(self, &names->name[id]);
        pc_offer_t answer = pc_budget_offer(budget, cost);
        if (answer == PC_OFFER_TAKEN)
            send_one(self, budget, id, cost);
        if (answer != PC_OFFER_PASSED)
            continue;
        send_what_fits(self, budget);
        break;
    }
}

/* The last cycle is over for these names: their count falls back to 0. */
static void
forget_last_cycle(pc_pending_t *self)
{
    pc_name_t *name = ((replay_t *)self->state)->names.name;
    int64_t listed = self->fresh_count;
    self->fresh_count = 0;
    for (int64_t i = 0; i < listed; i++) {
        uint32_t id = self->fresh[i];
        if (name[id].update.count > 0)
            touch(self, id)->update.count = 0;
    }
}

static void
scale_scores(pc_pending_t *self, int scalings)
{
    pc_names_t *names = &((replay_t *)self->state)->names;
    for (int64_t id = 0; id < self->files->count; id++) {
        for (int s = 0; s < scalings; s++)
            names->name[id].update.score *= 0x1p-512;
    }
    for (int64_t i = 0; i < names->count; i++)
        names->entry[i] = entry_of(self, pc_names_id(names->entry[i]));
    pc_names_rebuild(names);
}

static int
replay_send(pc_pending_t *self, pc_budget_t *budget)
{
    replay_t *state = self->state;
    send_in_rank(self, budget);
    if (state->estimate.frequency == PC_FREQUENCY_LAST_CYCLE)
        forget_last_cycle(self);
    int scalings = pc_estimate_begin_cycle(&state->estimate);
    if (scalings > 0)
        scale_scores(self, scalings);
    return PC_STOP_CYCLES;
}

static inline void
add_updates(const pc_estimate_t *estimate, pc_name_t *name, int64_t updates)
{
    if (estimate->scored)
        name->update.score += (double)updates * estimate->weight;
    else if (!estimate->last_write)
        name->update.count += updates;
    else if (updates > 0)
        name->update.count = estimate->cycle;
}

/* The new name takes over from the old one what the destination, which renames too, has of it. */
static void
rename_from(pc_pending_t *self, pc_name_t *name, uint32_t old_id, int64_t write_bytes)
{
    const uint32_t over = PC_NAME_PENDING | PC_NAME_COPIED;
    pc_name_t *old = touch(self, old_id);
    name->flags = (name->flags & ~over) | (old->flags & (over | PC_NAME_SENT)) | PC_NAME_PRESENT;
    if (write_bytes > 0)
        name->flags |= PC_NAME_PENDING;
    name->unsent_bytes = add_up_to_most(old->unsent_bytes, write_bytes);
    old->flags &= ~(uint32_t)(PC_NAME_PRESENT | PC_NAME_PENDING);
}

static inline void
write_to(pc_name_t *name, int64_t write_bytes)
{
    if (!(name->flags & PC_NAME_PRESENT)) {
        name->flags &= ~(uint32_t)PC_NAME_COPIED;
        name->unsent_bytes = 0;
    }
    name->flags |= PC_NAME_PRESENT | PC_NAME_PENDING;
    name->unsent_bytes = add_up_to_most(name->unsent_bytes, write_bytes);
}

void
pc_replay_rows(pc_pending_t *self, const pc_rows_t *rows, int64_t first, int64_t count)
{
    replay_t *state = self->state;
    pc_name_t *names = state->names.name;
    bool large = self->files->count >= LARGE;
    for (int64_t i = first; i < first + count; i++) {
        if (large && i + 16 < first + count)
            __builtin_prefetch(&names[rows->file_id[i + 16]], 1);
        int64_t size = rows->size_bytes[i], from = rows->from_id[i];
        pc_name_t *name = touch(self, (uint32_t)rows->file_id[i]);
        add_updates(&state->estimate, name, rows->updates[i]);
        if (size < 0) {
            name->flags &= ~(uint32_t)(PC_NAME_PRESENT | PC_NAME_PENDING);
            continue;
        }
        if (from >= 0 && names[from].flags & PC_NAME_PRESENT)
            rename_from(self, name, (uint32_t)from, rows->write_bytes[i]);
        else
            write_to(name, rows->write_bytes[i]);
        name->size_bytes = size;
    }
}

static void
replay_settle(pc_pending_t *self)
{
    replay_t *state = self->state;
    pc_names_t *names = &state->names;
    for (int64_t i = 0; i < self->fresh_count; i++) {
        uint32_t id = self->fresh[i];
        pc_name_t *name = &names->name[id];
        name->flags &= ~(uint32_t)PC_NAME_TOUCHED;
        account(self, name, 1);
        if (name->flags & PC_NAME_PENDING)
            pc_names_wait(names, entry_of(self, id));
        else
            pc_names_take_out(names, id);
    }
    if (state->estimate.frequency != PC_FREQUENCY_LAST_CYCLE)
        self->fresh_count = 0;
}

static bool
replay_verify(const pc_pending_t *self)
{
    const pc_names_t *names = &((const replay_t *)self->state)->names;
    int64_t bytes = 0, present = 0, pending = 0;
    bool sound = true;
    for (int64_t i = 0; i < names->count; i++) {
        uint32_t id = pc_names_id(names->entry[i]);
        sound &= names->name[id].slot == i && names->entry[i] <= entry_of(self, id);
        sound &= i == 0 || names->entry[i] >= names->entry[(i - 1) / 4];
    }
    for (uint32_t id = 0; id < self->files->count; id++) {
        const pc_name_t *name = &names->name[id];
        bool waits = name->flags & PC_NAME_PENDING, exists = name->flags & PC_NAME_PRESENT;
        sound &= waits == (name->slot != PC_NO_SLOT) && (exists || !waits);
        sound &= !(name->flags & PC_NAME_TOUCHED);
        bytes += waits ? cost_of(self, name) : 0;
        present += exists ? name->size_bytes : 0;
        pending += waits;
    }
    return sound && pending == names->count && bytes == self->bytes &&
           present == self->present_bytes;
}

/* All files that exist where the replay begins are pending. */
static void
start(pc_pending_t *self, const int64_t *size_bytes)
{
    replay_t *state = self->state;
    pc_names_t *names = &state->names;
    for (uint32_t id = 0; id < self->files->count; id++) {
        bool exists = size_bytes[id] >= 0;
        pc_name_t *name = &names->name[id];
        name->size_bytes = exists ? size_bytes[id] : 0;
        name->flags = exists ? PC_NAME_PRESENT | PC_NAME_PENDING : 0;
        name->slot = PC_NO_SLOT;
        bool counted = self->plan->history && !state->estimate.last_write;
        int64_t history = counted ? self->plan->history[id] : 0;
        if (state->estimate.scored)
            name->update.score = (double)history;
        else
            name->update.count = history;
        if (state->estimate.frequency == PC_FREQUENCY_LAST_CYCLE && history > 0)
            self->fresh[self->fresh_count++] = id;
        account(self, name, 1);
        if (exists)
            pc_names_put(names, names->count++, entry_of(self, id));
    }
    pc_names_rebuild(names);
}

static int
replay_init(pc_pending_t *self)
{
    int64_t n = self->files->count;
    const pc_plan_t *plan = self->plan;
    replay_t *state = self->state = calloc(1, sizeof *state);
    if (!state)
        return PC_ERROR_MEMORY;
    pc_estimate_t *estimate = &state->estimate;
    state->order = &pc_orders[plan->policy.order];
    state->delta = plan->cost == PC_COST_DELTA;
    estimate->last_write = state->order->uses & PC_USES_LAST_WRITE;
    estimate->frequency = estimate->last_write ? PC_FREQUENCY_COUNT : plan->frequency;
    estimate->scored = estimate->frequency == PC_FREQUENCY_EXPONENTIAL;
    estimate->half_life_cycles = plan->half_life_cycles;
    state->names.name = pc_allocate_zeroed(n, sizeof *state->names.name);
    state->names.entry = pc_allocate(n, sizeof *state->names.entry);
    if (plan->budget == PC_BUDGET_SKIP)
        state->fits = pc_allocate(n, sizeof *state->fits);
    int64_t *size_bytes = pc_allocate(n, sizeof *size_bytes);
    int status =
        state->names.name && state->names.entry && size_bytes &&
                (state->fits || plan->budget != PC_BUDGET_SKIP)
            ? pc_recording_sizes(self->source->recording, self->files, plan->first_row, size_bytes)
            : PC_ERROR_MEMORY;
    if (status >= 0)
        start(self, size_bytes);
    free(size_bytes);
    return status;
}

static void
replay_free(pc_pending_t *self)
{
    replay_t *state = self->state;
    free(state->names.name);
    free(state->names.entry);
    free(state->fits);
}

const pc_pending_kind_t pc_pending_replay = {
    replay_init, replay_send, NULL, replay_settle, replay_verify, replay_free,
};
