/*
 * pending_changing.c -- pending files under a key that moves with every write.
 *
 * A file's place is its id.  Files with the same small update count u share a row, a bitset in the
 * order of their keys; so a row needs no keys, and the next file of all is the least of the rows'
 * first members.  Files whose estimate is no small count wait in a heap.
 *
 * Invariant: every pending file is in exactly one of read_only, the rows and the heap, and the key
 * under which it waits there is never above its true key.  A write to a file that is pending already
 * moves nothing: a stale key is found out and repaired when it comes first.  The last-cycle estimate
 * can also fall, so there every write-touched file is moved at the end of its cycle and back to
 * row 0 one cycle later.
 */
#include "estimate.h"
#include "heap.h"
#include "pending.h"
#include "ranking.h"

#include <stdlib.h>

/* A row costs n / 8 bytes. Files with more updates than that rarely come first. */
#define ROWS 64
#define HEAP ROWS
#define NO_SOURCE (-1)

/* From this many files on, counts do not stay in the cache between writes. */
#define LARGE (1 << 17)

static const pc_entry_t NONE = {UINT64_MAX, UINT32_MAX};

typedef struct {
    pc_estimate_t estimate;
    pc_ranking_t by_size;     /* members of the rows above 0 when keys depend on the size */
    uint64_t *memory;         /* of the bitmaps below */
    uint64_t *pending;        /* a bit per file in the rows or the heap */
    pc_queue_t read_only;     /* read-only files that go before all others */
    pc_bitset_t row[ROWS];    /* row 0 by id, the others by key */
    pc_entry_t head[ROWS];    /* not after the row's first member */
    uint64_t occupied;        /* a bit per row; rows without it are empty */
    int rows;
    pc_heap_t heap;
    uint32_t *aside;          /* files passed over in this cycle */
    int64_t aside_count;
    int source;               /* the row or HEAP that files are taken from */
    int64_t member;           /* the first of that row */
    pc_entry_t limit;         /* where another source takes over */
} changing_t;

static inline int64_t
member_of(const changing_t *state, int64_t row, uint32_t id)
{
    return row > 0 && state->by_size.rank_of ? state->by_size.rank_of[id] : id;
}

static inline uint32_t
id_of(const changing_t *state, int row, int64_t member)
{
    return row > 0 && state->by_size.id_at ? state->by_size.id_at[member] : (uint32_t)member;
}

static inline pc_entry_t
row_entry(const changing_t *state, int64_t row, uint32_t id)
{
    const int64_t *times = state->estimate.times_bytes;
    return (pc_entry_t){(uint64_t)row * (times ? (uint64_t)times[id] : 1), id};
}

/* The row where a file belongs by its estimate, or HEAP. */
static inline int64_t
true_row(const changing_t *state, uint32_t id)
{
    pc_update_t update = state->estimate.update[id];
    if (state->estimate.frequency == PC_FREQUENCY_EXPONENTIAL)
        return update.score > 0.0 ? HEAP : 0;
    return update.count < ROWS ? update.count : HEAP;
}

static void
insert(changing_t *state, uint32_t id)
{
    int64_t row = true_row(state, id);
    pc_entry_t entry;
    if (row == HEAP) {
        entry = (pc_entry_t){pc_estimate_key(&state->estimate, id), id};
        pc_heap_push(&state->heap, entry);
    } else {
        entry = row_entry(state, row, id);
        pc_bitset_insert(&state->row[row], member_of(state, row, id));
        if (!(state->occupied & pc_bit(row)) || pc_entry_before(entry, state->head[row]))
            state->head[row] = entry;
        state->occupied |= pc_bit(row);
    }
    if (row != state->source && pc_entry_before(entry, state->limit))
        state->limit = entry;
}

/* Note a source whose first file is `head`: the best becomes the source, the next the limit. */
static inline void
consider(changing_t *state, int source, pc_entry_t head, pc_entry_t *best)
{
    if (pc_entry_before(head, *best)) {
        state->limit = *best;
        *best = head;
        state->source = source;
    } else if (pc_entry_before(head, state->limit)) {
        state->limit = head;
    }
}

static bool
choose_source(changing_t *state)
{
    pc_entry_t best = NONE;
    state->source = NO_SOURCE;
    state->limit = NONE;
    for (uint64_t rows = state->occupied; rows; rows &= rows - 1) {
        int row = pc_lowest_bit(rows);
        consider(state, row, state->head[row], &best);
        if (!state->estimate.times_bytes && state->limit.id != NONE.id)
            return true; /* by updates alone, rows follow one another */
    }
    if (state->heap.count > 0)
        consider(state, HEAP, state->heap.entry[0], &best);
    return state->source != NO_SOURCE;
}

/* The head of the source once stale keys are repaired, or NONE. */
static pc_entry_t
first_of_heap(changing_t *state)
{
    while (state->heap.count > 0) {
        pc_entry_t top = state->heap.entry[0];
        uint64_t key = pc_estimate_key(&state->estimate, top.id);
        if (key == top.key)
            return top;
        pc_heap_sink(&state->heap, 0, (pc_entry_t){key, top.id});
    }
    return NONE;
}

static pc_entry_t
first_of_row(changing_t *state, int row)
{
    for (;;) {
        int64_t member = pc_bitset_first(&state->row[row]);
        if (member < 0)
            return NONE;
        uint32_t id = id_of(state, row, member);
        state->member = member;
        if (true_row(state, id) == row)
            return row_entry(state, row, id);
        pc_bitset_remove(&state->row[row], member);
        insert(state, id);
    }
}

/* Find the pending file that comes first of all; false if there is none. */
static bool
find_first(changing_t *state, uint32_t *id)
{
    while (state->source != NO_SOURCE || choose_source(state)) {
        int source = state->source;
        pc_entry_t first = source == HEAP ? first_of_heap(state) : first_of_row(state, source);
        if (first.id != NONE.id && !pc_entry_before(state->limit, first)) {
            *id = first.id;
            return true;
        }
        if (first.id == NONE.id && source != HEAP)
            state->occupied &= ~pc_bit(source);
        else if (source != HEAP)
            state->head[source] = first;
        state->source = NO_SOURCE;
    }
    return false;
}

/* Take out the file that find_first() has found. */
static void
take_first(changing_t *state)
{
    if (state->source == HEAP)
        pc_heap_pop(&state->heap);
    else
        pc_bitset_remove(&state->row[state->source], state->member);
}

/* The last cycle is over for these files: their estimate falls back to 0. */
static void
forget_last_cycle(pc_pending_t *self)
{
    changing_t *state = self->state;
    state->heap.count = 0;
    for (int64_t i = 0; i < self->fresh_count; i++) {
        uint32_t id = self->fresh[i];
        int64_t row = true_row(state, id);
        bool pending = state->pending[id >> 6] & pc_bit(id);
        if (pending && row != HEAP)
            pc_bitset_remove(&state->row[row], member_of(state, row, id));
        state->estimate.update[id].count = 0;
        if (pending)
            insert(state, id);
    }
    self->fresh_count = 0;
}

static void
scale_scores(pc_pending_t *self, int scalings)
{
    changing_t *state = self->state;
    for (int64_t i = 0; i < self->files->count; i++) {
        for (int s = 0; s < scalings; s++)
            state->estimate.update[i].score *= 0x1p-512;
    }
    for (int64_t i = 0; i < state->heap.count; i++)
        state->heap.entry[i].key = pc_estimate_key(&state->estimate, state->heap.entry[i].id);
    pc_heap_rebuild(&state->heap);
}

static int
changing_send(pc_pending_t *self, pc_link_t *link)
{
    changing_t *state = self->state;
    uint32_t id;
    state->source = NO_SOURCE;
    int64_t read_only_bytes = pc_link_send_queue(link, &state->read_only, NULL, self->size_bytes);
    self->bytes -= read_only_bytes;
    while (!link->blocked && find_first(state, &id)) {
        int64_t size = self->size_bytes[id];
        link->examined++;
        if (size <= link->left_bytes) {
            pc_link_send_one(link, id, size);
            self->bytes -= size;
            state->pending[id >> 6] &= ~pc_bit(id);
            take_first(state);
        } else if (link->rule == PC_BUDGET_SKIP && link->left_bytes >= link->smallest_bytes) {
            state->aside[state->aside_count++] = id;
            take_first(state);
        } else {
            link->blocked = true;
        }
    }
    state->source = NO_SOURCE;
    while (state->aside_count > 0)
        insert(state, state->aside[--state->aside_count]);
    if (state->estimate.frequency == PC_FREQUENCY_LAST_CYCLE)
        forget_last_cycle(self);
    int scalings = pc_estimate_begin_cycle(&state->estimate);
    if (scalings > 0)
        scale_scores(self, scalings);
    return PC_STOP_CYCLES;
}

/* No branch on the files' state, for the reason given in pending_fixed.c. */
static void
changing_write(pc_pending_t *self, const uint32_t *place, int64_t count)
{
    changing_t *state = self->state;
    pc_update_t *update = state->estimate.update;
    uint64_t *pending = state->pending;
    uint32_t *fresh = self->fresh;
    int64_t fresh_count = self->fresh_count;
    double weight = state->estimate.weight;
    bool exponential = state->estimate.frequency == PC_FREQUENCY_EXPONENTIAL;
    bool last_cycle = state->estimate.frequency == PC_FREQUENCY_LAST_CYCLE;
    if (self->files->count >= LARGE) {
        for (int64_t i = 0; i < count; i++)
            __builtin_prefetch(&update[place[i]], 1);
    }
    for (int64_t i = 0; i < count; i++) {
        uint32_t id = place[i];
        uint64_t before = pending[id >> 6];
        fresh[fresh_count] = id;
        if (last_cycle) { /* fresh: touched in this cycle */
            fresh_count += update[id].count++ == 0;
            continue;
        }
        fresh_count += !(before >> (id & 63) & 1);
        pending[id >> 6] = before | pc_bit(id);
        if (exponential)
            update[id].score += weight;
        else
            update[id].count++;
    }
    self->fresh_count = fresh_count;
}

static void
changing_settle(pc_pending_t *self)
{
    changing_t *state = self->state;
    bool last_cycle = state->estimate.frequency == PC_FREQUENCY_LAST_CYCLE;
    for (int64_t i = 0; i < self->fresh_count; i++) {
        uint32_t id = self->fresh[i];
        bool pending = last_cycle && state->pending[id >> 6] & pc_bit(id);
        if (pending)
            pc_bitset_remove(&state->row[0], id);
        else
            self->bytes += self->size_bytes[id];
        state->pending[id >> 6] |= pc_bit(id);
        insert(state, id);
    }
    if (!last_cycle)
        self->fresh_count = 0;
}

static bool
changing_verify(const pc_pending_t *self)
{
    const changing_t *state = self->state;
    int64_t n = self->files->count, bytes = 0, pending = 0, members = state->heap.count;
    bool sound = pc_heap_verify(&state->heap) &&
                 pc_queue_verify(&state->read_only, n, self->size_bytes);
    for (int row = 0; row < state->rows; row++)
        sound &= pc_bitset_verify(&state->row[row], n);
    for (int64_t i = 0; i < state->heap.count; i++) {
        pc_entry_t entry = state->heap.entry[i];
        sound &= entry.key <= pc_estimate_key(&state->estimate, entry.id);
    }
    for (uint32_t id = 0; id < n; id++) {
        bool is_pending = state->pending[id >> 6] & pc_bit(id);
        bool first = pc_bitset_has(&state->read_only.waiting, id);
        sound &= !(is_pending && first);
        bytes += is_pending || first ? self->size_bytes[id] : 0;
        pending += is_pending;
        for (int row = 0; row < state->rows; row++)
            members += pc_bitset_has(&state->row[row], member_of(state, row, id));
    }
    return sound && members == pending && bytes == self->bytes;
}

/* History counts as writes seen before the first cycle, in every estimate. */
static void
start_from_history(pc_pending_t *self)
{
    changing_t *state = self->state;
    pc_estimate_t *estimate = &state->estimate;
    for (int64_t i = 0; i < self->files->count; i++) {
        uint32_t id = (uint32_t)i;
        int64_t history = self->plan->history ? self->plan->history[i] : 0;
        if (estimate->frequency == PC_FREQUENCY_EXPONENTIAL)
            estimate->update[i].score = (double)history;
        else
            estimate->update[i].count = history;
        if (estimate->frequency == PC_FREQUENCY_LAST_CYCLE && history > 0)
            self->fresh[self->fresh_count++] = id;
        if (self->plan->read_only_first && self->files->read_only[i]) {
            pc_queue_insert(&state->read_only, i, self->size_bytes[i]);
        } else {
            state->pending[i >> 6] |= pc_bit(i);
            insert(state, id);
        }
    }
}

static int
changing_init(pc_pending_t *self)
{
    int64_t n = self->files->count;
    changing_t *state = self->state = calloc(1, sizeof *state);
    if (!state)
        return PC_ERROR_MEMORY;
    self->size_bytes = self->files->size_bytes;
    state->rows = self->plan->frequency == PC_FREQUENCY_EXPONENTIAL ? 1 : ROWS;
    state->source = NO_SOURCE;
    state->estimate.frequency = self->plan->frequency;
    state->estimate.half_life_cycles = self->plan->half_life_cycles;
    state->estimate.update = calloc((size_t)n, sizeof *state->estimate.update);
    state->heap.entry = malloc((size_t)n * sizeof *state->heap.entry);
    state->aside = malloc((size_t)n * sizeof *state->aside);
    int64_t words = pc_words_for(n) + pc_queue_words(n) + state->rows * pc_bitset_words(n);
    uint64_t *memory = state->memory = calloc((size_t)words, sizeof *memory);
    if (!state->estimate.update || !state->heap.entry || !state->aside || !memory)
        return PC_ERROR_MEMORY;
    state->pending = memory;
    memory = pc_queue_init(&state->read_only, n, memory + pc_words_for(n));
    for (int row = 0; row < state->rows; row++)
        memory = pc_bitset_init(&state->row[row], n, memory);
    if (self->plan->order == PC_ORDER_EXPECTED_UPDATE) {
        state->estimate.times_bytes = self->size_bytes;
        int status = state->rows > 1 ? pc_ranking_by_size(&state->by_size, self->files) : 0;
        if (status < 0)
            return status;
    }
    start_from_history(self);
    return 0;
}

static void
changing_free(pc_pending_t *self)
{
    changing_t *state = self->state;
    pc_ranking_free(&state->by_size);
    free(state->estimate.update);
    free(state->heap.entry);
    free(state->aside);
    free(state->memory);
}

const pc_pending_kind_t pc_pending_changing = {
    changing_init, changing_send, changing_write, changing_settle, changing_verify, changing_free,
};
