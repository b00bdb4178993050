/*
 * pending_dynamic.c -- pending files under a key that moves with every write: see rows.h.
 */
#include "rows.h"
#include "memory.h"

#include <stdlib.h>

/* From this many files on, counts do not stay in the cache between writes. */
#define LARGE (1 << 17)

/* The last cycle is over for these files: their estimate falls back to 0. */
static void
forget_last_cycle(pc_pending_t *self)
{
    pc_dynamic_t *state = self->state;
    state->heap.count = 0;
    for (int64_t i = 0; i < self->fresh_count; i++) {
        uint32_t id = self->fresh[i];
        int row = pc_dynamic_row(state, id);
        bool pending = state->pending[id >> 6] & pc_bit(id);
        if (pending && row != PC_HEAP)
            pc_bitset_remove(&state->row[row], pc_dynamic_member(state, row, id));
        state->estimate.update[id].count = 0;
        if (pending && !(self->ledger && pc_ledger_is_out(self->ledger, id)))
            pc_dynamic_insert(state, id);
    }
    self->fresh_count = 0;
}

/* Scores have changed at once; those who wait in a row are found out when they come first. */
static void
rebuild_heap(pc_dynamic_t *state)
{
    for (int64_t i = 0; i < state->heap.count; i++) {
        uint32_t id = pc_entry_id(state->heap.entry[i]);
        state->heap.entry[i] = pc_entry(pc_estimate_key(&state->estimate, id), id, PC_HEAP);
    }
    pc_heap_rebuild(&state->heap);
}

static void
scale_scores(pc_pending_t *self, int scalings)
{
    pc_dynamic_t *state = self->state;
    for (int64_t i = 0; i < self->files->count; i++) {
        for (int s = 0; s < scalings; s++)
            state->estimate.update[i].score *= 0x1p-512;
    }
    rebuild_heap(state);
}

/* The shares of the phase in which the cycle's writes will begin.  Rule estimate.oracle. */
static void
ask_oracle(pc_pending_t *self)
{
    pc_dynamic_t *state = self->state;
    const pc_source_t *source = self->source;
    int64_t write = state->estimate.cycle * self->plan->writes_per_cycle;
    const double *share = NULL;
    for (; state->phase < source->phase_count && source->phase[state->phase].first_write <= write;
         state->phase++)
        share = source->phase[state->phase].share;
    for (int64_t i = 0; share && i < self->files->count; i++)
        state->estimate.update[i].score = share[i];
    if (share)
        rebuild_heap(state);
}

static int
dynamic_send(pc_pending_t *self, pc_budget_t *budget)
{
    pc_dynamic_t *state = self->state;
    if (state->estimate.frequency == PC_FREQUENCY_ORACLE)
        ask_oracle(self);
    pc_dynamic_send(self, budget);
    if (state->estimate.frequency == PC_FREQUENCY_LAST_CYCLE)
        forget_last_cycle(self);
    int scalings = pc_estimate_begin_cycle(&state->estimate);
    if (scalings > 0)
        scale_scores(self, scalings);
    return PC_STOP_CYCLES;
}

/* No branch on the files' state, for the reason given in pending_static.c. */
static void
dynamic_write(pc_pending_t *self, const uint32_t *place, int64_t count)
{
    pc_dynamic_t *state = self->state;
    pc_update_t *update = state->estimate.update;
    uint8_t *pending = (uint8_t *)state->pending;
    uint32_t *fresh = self->fresh;
    int64_t fresh_count = self->fresh_count;
    double weight = state->estimate.weight;
    bool scored = state->estimate.scored;
    bool last_cycle = state->estimate.frequency == PC_FREQUENCY_LAST_CYCLE;
    bool last_write = state->estimate.last_write;
    int64_t cycle = state->estimate.cycle;
    if (self->files->count >= LARGE) {
        for (int64_t i = 0; i < count; i++)
            __builtin_prefetch(&update[place[i]], 1);
    }
    for (int64_t i = 0; i < count; i++) {
        uint32_t id = place[i];
        unsigned before = pending[pc_byte(id)], bit = 1U << (id & 7);
        fresh[fresh_count] = id;
        if (last_cycle) { /* fresh: touched in this cycle */
            fresh_count += update[id].count++ == 0;
            continue;
        }
        fresh_count += !(before & bit);
        pending[pc_byte(id)] = (uint8_t)(before | bit);
        if (scored)
            update[id].score += weight;
        else
            update[id].count = last_write ? cycle : update[id].count + 1;
    }
    self->fresh_count = fresh_count;
}

/* Fetch what later steps of the loop over fresh files will need, in two stages. */
static inline void
fetch_ahead(const pc_pending_t *self, int64_t i)
{
    const pc_dynamic_t *state = self->state;
    if (i + 16 < self->fresh_count) {
        uint32_t id = self->fresh[i + 16];
        __builtin_prefetch(&state->estimate.update[id]);
        __builtin_prefetch(&self->size_bytes[id]);
        if (state->by_size.rank_of)
            __builtin_prefetch(&state->by_size.rank_of[id]);
    }
    if (i + 8 < self->fresh_count) {
        uint32_t id = self->fresh[i + 8];
        int row = pc_dynamic_row(state, id);
        if (row != PC_HEAP)
            __builtin_prefetch(&state->row[row].word[pc_dynamic_member(state, row, id) >> 6], 1);
    }
}

static void
dynamic_settle(pc_pending_t *self)
{
    pc_dynamic_t *state = self->state;
    pc_ledger_t *ledger = self->ledger;
    bool last_cycle = state->estimate.frequency == PC_FREQUENCY_LAST_CYCLE;
    for (int64_t i = 0; i < self->fresh_count; i++) {
        uint32_t id = self->fresh[i];
        if (self->files->count >= LARGE)
            fetch_ahead(self, i);
        bool pending = last_cycle && state->pending[id >> 6] & pc_bit(id);
        if (pending)
            pc_bitset_remove(&state->row[0], id);
        else
            self->bytes += self->size_bytes[id];
        state->pending[id >> 6] |= pc_bit(id);
        bool out =
            ledger && (pending ? pc_ledger_is_out(ledger, id) : pc_ledger_keeps_out(ledger, id));
        if (!out)
            pc_dynamic_insert(state, id);
    }
    if (!last_cycle)
        self->fresh_count = 0;
}

static bool
dynamic_verify(const pc_pending_t *self)
{
    const pc_dynamic_t *state = self->state;
    int64_t n = self->files->count, bytes = 0, cost = 0, pending = 0, members = state->heap.count;
    bool sound =
        pc_heap_verify(&state->heap) && pc_queue_verify(&state->read_only, n, self->size_bytes);
    for (int row = 0; row < state->rows; row++)
        sound &= pc_bitset_verify(&state->row[row], n);
    for (int64_t i = 0; i < state->heap.count; i++) {
        pc_entry_t entry = state->heap.entry[i];
        sound &= pc_entry_key(entry) <= pc_estimate_key(&state->estimate, pc_entry_id(entry));
    }
    for (uint32_t id = 0; id < n; id++) {
        bool is_pending = state->pending[id >> 6] & pc_bit(id);
        bool first = pc_bitset_has(&state->read_only.waiting, id);
        sound &= !(is_pending && first);
        int64_t size = is_pending || first ? self->size_bytes[id] : 0;
        bytes += size;
        cost += self->ledger && is_pending ? pc_ledger_cost(self->ledger, id) : size;
        pending += is_pending && !(self->ledger && pc_ledger_is_out(self->ledger, id));
        for (int row = 0; row < state->rows; row++)
            members += pc_bitset_has(&state->row[row], pc_dynamic_member(state, row, id));
    }
    sound &= cost == pc_pending_final_copy(self);
    return sound && members == pending && bytes == self->bytes;
}

/* History counts as writes seen before the first cycle, in every estimate; it tells no last write. */
static void
start_from_history(pc_pending_t *self)
{
    pc_dynamic_t *state = self->state;
    pc_estimate_t *estimate = &state->estimate;
    for (int64_t i = 0; i < self->files->count; i++) {
        uint32_t id = (uint32_t)i;
        bool counted = self->plan->history && !estimate->last_write;
        int64_t history = counted ? self->plan->history[i] : 0;
        if (estimate->scored)
            estimate->update[i].score = (double)history;
        else
            estimate->update[i].count = history;
        if (estimate->frequency == PC_FREQUENCY_LAST_CYCLE && history > 0)
            self->fresh[self->fresh_count++] = id;
        if (self->plan->policy.read_only_first && self->files->read_only[i]) {
            pc_queue_insert(&state->read_only, i, self->size_bytes[i]);
        } else {
            state->pending[i >> 6] |= pc_bit(i);
            pc_dynamic_insert(state, id);
        }
    }
}

static int
dynamic_init(pc_pending_t *self)
{
    int64_t n = self->files->count;
    pc_dynamic_t *state = self->state = calloc(1, sizeof *state);
    if (!state)
        return PC_ERROR_MEMORY;
    self->size_bytes = self->files->size_bytes;
    unsigned uses = pc_orders[self->plan->policy.order].uses;
    state->estimate.last_write = uses & PC_USES_LAST_WRITE;
    state->estimate.frequency =
        state->estimate.last_write ? PC_FREQUENCY_COUNT : self->plan->frequency;
    state->estimate.scored = state->estimate.frequency == PC_FREQUENCY_EXPONENTIAL ||
                             state->estimate.frequency == PC_FREQUENCY_ORACLE;
    state->rows = state->estimate.scored ? 1 : PC_ROWS;
    state->estimate.half_life_cycles = self->plan->half_life_cycles;
    state->estimate.update = pc_allocate_zeroed(n, sizeof *state->estimate.update);
    state->heap.entry = pc_allocate(n, sizeof *state->heap.entry);
    state->aside = pc_allocate(n, sizeof *state->aside);
    int64_t words = pc_words_for(n) + pc_queue_words(n) + state->rows * pc_bitset_words(n);
    uint64_t *memory = state->memory = pc_allocate_zeroed(words, sizeof *memory);
    if (!state->estimate.update || !state->heap.entry || !state->aside || !memory)
        return PC_ERROR_MEMORY;
    state->pending = memory;
    memory = pc_queue_init(&state->read_only, n, memory + pc_words_for(n));
    for (int row = 0; row < state->rows; row++)
        memory = pc_bitset_init(&state->row[row], n, memory);
    if (uses & PC_USES_SIZE) {
        state->estimate.times_bytes = self->size_bytes;
        int status = state->rows > 1 ? pc_ranking_by_size(&state->by_size, self->files) : 0;
        if (status < 0)
            return status;
    }
    start_from_history(self);
    return 0;
}

static void
dynamic_free(pc_pending_t *self)
{
    pc_dynamic_t *state = self->state;
    pc_ranking_free(&state->by_size);
    free(state->estimate.update);
    free(state->heap.entry);
    free(state->aside);
    free(state->memory);
}

const pc_pending_kind_t pc_pending_dynamic = {
    dynamic_init, dynamic_send, dynamic_write, dynamic_settle, dynamic_verify, dynamic_free,
};
