/*
 * pending_replay.c -- pending files while a recording is replayed: files come, go, grow, shrink and
 * are renamed: see pending_replay.h.
 */
#include "memory.h"
#include "pending_replay.h"

#include <stdlib.h>

/* From this many files on, names do not stay in the first-level cache between rows. */
#define LARGE (1 << 9)

/* Bring the sums up to date with a name. */
static inline void
count(pc_pending_t *self, uint32_t id)
{
    const pc_replay_t *state = self->state;
    const pc_name_t *name = &state->names.name[id];
    pc_counted_t *counted = &state->counted[id],
                 now = {
                     .cost_bytes = name->flags & PC_NAME_PENDING ? pc_replay_cost(self, name) : 0,
                     .present_bytes = name->flags & PC_NAME_PRESENT ? name->size_bytes : 0,
                 };
    self->bytes += now.cost_bytes - counted->cost_bytes;
    self->present_bytes += now.present_bytes - counted->present_bytes;
    *counted = now;
}

/* List a name, once; no branch, for the reason given in pending_static.c. */
static inline pc_name_t *
touch(pc_pending_t *self, uint32_t id)
{
    pc_name_t *name = &((pc_replay_t *)self->state)->names.name[id];
    self->fresh[self->fresh_count] = id;
    self->fresh_count += !(name->flags & PC_NAME_TOUCHED);
    name->flags |= PC_NAME_TOUCHED;
    return name;
}

/* The last cycle is over for these names: their count falls back to 0. */
static void
forget_last_cycle(pc_pending_t *self)
{
    pc_name_t *name = ((pc_replay_t *)self->state)->names.name;
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
    pc_names_t *names = &((pc_replay_t *)self->state)->names;
    for (int64_t id = 0; id < self->files->count; id++) {
        for (int s = 0; s < scalings; s++)
            names->name[id].update.score *= 0x1p-512;
    }
    for (int64_t i = 0; i < names->count; i++)
        names->entry[i] = pc_replay_entry(self, pc_names_id(names->entry[i]));
    pc_names_rebuild(names);
}

static int
replay_send(pc_pending_t *self, pc_budget_t *budget)
{
    pc_replay_t *state = self->state;
    pc_replay_send(self, budget);
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
    name->unsent_bytes = pc_add_up_to_most(old->unsent_bytes, write_bytes);
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
    name->unsent_bytes = pc_add_up_to_most(name->unsent_bytes, write_bytes);
}

void
pc_replay_rows(pc_pending_t *self, const pc_rows_t *rows, int64_t first, int64_t count)
{
    pc_replay_t *state = self->state;
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

/*
 * The last write of each name that was written is the same now, behind all others: where those are
 * many, the heap is cheaper to rebuild than to repair as each comes first.
 */
static void
replay_settle(pc_pending_t *self)
{
    pc_replay_t *state = self->state;
    pc_names_t *names = &state->names;
    bool rebuilt = state->estimate.last_write && self->fresh_count > names->count / 4;
    for (int64_t i = 0; i < self->fresh_count; i++) {
        uint32_t id = self->fresh[i];
        pc_name_t *name = &names->name[id];
        name->flags &= ~(uint32_t)PC_NAME_TOUCHED;
        count(self, id);
        if (!(name->flags & PC_NAME_PENDING))
            pc_names_take_out(names, id);
        else if (rebuilt && name->slot != PC_NO_SLOT)
            names->entry[name->slot] = pc_replay_entry(self, id);
        else
            pc_names_wait(names, pc_replay_entry(self, id));
    }
    if (rebuilt)
        pc_names_rebuild(names);
    if (state->estimate.frequency != PC_FREQUENCY_LAST_CYCLE)
        self->fresh_count = 0;
}

static bool
replay_verify(const pc_pending_t *self)
{
    const pc_replay_t *state = self->state;
    const pc_names_t *names = &state->names;
    int64_t bytes = 0, present = 0, pending = 0;
    bool sound = true;
    for (int64_t i = 0; i < names->count; i++) {
        uint32_t id = pc_names_id(names->entry[i]);
        sound &= names->name[id].slot == i && names->entry[i] <= pc_replay_entry(self, id);
        sound &= i == 0 || names->entry[i] >= names->entry[(i - 1) / 4];
    }
    for (uint32_t id = 0; id < self->files->count; id++) {
        const pc_name_t *name = &names->name[id];
        bool waits = name->flags & PC_NAME_PENDING, exists = name->flags & PC_NAME_PRESENT;
        sound &= waits == (name->slot != PC_NO_SLOT) && (exists || !waits);
        sound &= !(name->flags & PC_NAME_TOUCHED);
        sound &= state->counted[id].cost_bytes == (waits ? pc_replay_cost(self, name) : 0);
        sound &= state->counted[id].present_bytes == (exists ? name->size_bytes : 0);
        bytes += state->counted[id].cost_bytes;
        present += state->counted[id].present_bytes;
        pending += waits;
    }
    return sound && pending == names->count && bytes == self->bytes &&
           present == self->present_bytes;
}

/* All files that exist where the replay begins are pending. */
static void
start(pc_pending_t *self, const int64_t *size_bytes)
{
    pc_replay_t *state = self->state;
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
        count(self, id);
        if (exists)
            pc_names_put(names, names->count++, pc_replay_entry(self, id));
    }
    pc_names_rebuild(names);
}

static int
replay_init(pc_pending_t *self)
{
    int64_t n = self->files->count;
    const pc_plan_t *plan = self->plan;
    pc_replay_t *state = self->state = calloc(1, sizeof *state);
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
    state->counted = pc_allocate_zeroed(n, sizeof *state->counted);
    if (plan->budget == PC_BUDGET_SKIP)
        state->fits = pc_allocate(n, sizeof *state->fits);
    int64_t *size_bytes = pc_allocate(n, sizeof *size_bytes);
    bool all = state->names.name && state->names.entry && state->counted && size_bytes &&
               (state->fits || plan->budget != PC_BUDGET_SKIP);
    int status = PC_ERROR_MEMORY;
    if (all)
        status =
            pc_recording_sizes(self->source->recording, self->files, plan->first_row, size_bytes);
    if (status >= 0)
        start(self, size_bytes);
    free(size_bytes);
    return status;
}

static void
replay_free(pc_pending_t *self)
{
    pc_replay_t *state = self->state;
    free(state->names.name);
    free(state->names.entry);
    free(state->counted);
    free(state->fits);
}

const pc_pending_kind_t pc_pending_replay = {
    replay_init, replay_send, NULL, replay_settle, replay_verify, replay_free,
};
