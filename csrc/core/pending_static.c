/*
 * pending_static.c -- pending files under a key that never changes.
 *
 * A file's place is its rank, found once by sorting.  Invariant: the queue holds exactly the places
 * of the pending files that are not held out, so rank order is bit order, and sizes are read in the
 * order they are sent.  Without a ledger none is held out, and one bitmap is both.
 */
#include "pending.h"

#include <stdlib.h>

typedef struct {
    pc_ranking_t ranking;
    pc_queue_t queue;
    uint64_t *pending; /* a bit per place */
    uint64_t *memory;
} static_t;

static int
static_init(pc_pending_t *self)
{
    int64_t n = self->files->count, words = pc_words_for(n);
    static_t *state = self->state = calloc(1, sizeof *state);
    if (!state)
        return PC_ERROR_MEMORY;
    bool apart = pc_ledger_wanted(self->plan);
    int64_t all_words = pc_queue_words(n) + (apart ? words : 0);
    int status = pc_pending_rank(self, &state->ranking, all_words, &state->memory);
    if (status < 0)
        return status;
    uint64_t *behind = pc_queue_init(&state->queue, n, state->memory);
    pc_queue_fill(&state->queue, n, self->size_bytes);
    state->pending = state->queue.waiting.word;
    if (apart)
        state->pending = memcpy(behind, state->pending, (size_t)words * sizeof *behind);
    return 0;
}

/* Hold out and send files of one word.  The queue's bytes are of sizes, whatever a file costs. */
static void
send_word(pc_pending_t *self, pc_budget_t *budget, int64_t w)
{
    static_t *state = self->state;
    const int64_t *size = self->size_bytes + 64 * w, *cost = self->ledger->cost_bytes;
    uint64_t *waiting = &state->queue.waiting.word[w], sent;
    int64_t *waiting_bytes = &state->queue.word_bytes[w];
    uint64_t held = pc_ledger_hold_out_of_word(self->ledger, w, *waiting);
    *waiting &= ~held;
    *waiting_bytes -= pc_sum_of(held, size);
    int64_t bytes = *waiting_bytes;
    if (cost) {
        bytes = pc_sum_of(*waiting, cost + 64 * w);
        sent = pc_budget_send_word(budget, w, *waiting, &bytes, cost + 64 * w);
        pc_ledger_sent_word(self->ledger, w, sent);
        bytes = pc_sum_of(sent, size);
    } else {
        sent = pc_budget_send_word(budget, w, *waiting, &bytes, size);
    }
    self->bytes -= bytes;
    *waiting_bytes -= bytes;
    state->pending[w] &= ~sent;
    *waiting &= ~sent;
    if (!*waiting)
        pc_bitset_lower(&state->queue.waiting, w);
}

static void
send_with_ledger(pc_pending_t *self, pc_budget_t *budget)
{
    pc_queue_t *queue = &((static_t *)self->state)->queue;
    uint32_t place;
    pc_ledger_begin_cycle(self->ledger);
    while (pc_ledger_comes_back(self->ledger, &place))
        pc_queue_insert(queue, place, self->size_bytes[place]);
    for (int64_t w = pc_bitset_first_word(&queue->waiting); w >= 0 && !budget->blocked;
         w = pc_bitset_next_word(&queue->waiting, w))
        send_word(self, budget, w);
}

static int
static_send(pc_pending_t *self, pc_budget_t *budget)
{
    static_t *state = self->state;
    if (self->ledger)
        send_with_ledger(self, budget);
    else
        self->bytes -= pc_budget_send_queue(budget, &state->queue, NULL, self->size_bytes);
    return PC_STOP_CYCLES;
}

/* No branch: whether a write hits a clean file is a coin that no processor predicts. */
static void
static_write(pc_pending_t *self, const uint32_t *place, int64_t count)
{
    uint8_t *byte = (uint8_t *)((static_t *)self->state)->pending;
    uint32_t *fresh = self->fresh;
    int64_t fresh_count = self->fresh_count;
    for (int64_t i = 0; i < count; i++) {
        uint32_t p = place[i];
        unsigned before = byte[pc_byte(p)], bit = 1U << (p & 7);
        fresh[fresh_count] = p;
        fresh_count += !(before & bit);
        byte[pc_byte(p)] = (uint8_t)(before | bit);
    }
    self->fresh_count = fresh_count;
}

static void
static_settle(pc_pending_t *self)
{
    pc_queue_t queue = ((static_t *)self->state)->queue;
    const uint32_t *fresh = self->fresh;
    int64_t fresh_count = self->fresh_count, bytes = 0;
    for (int64_t i = 0; i < fresh_count; i++) {
        uint32_t p = fresh[i];
        pc_prefetch_ahead(self->size_bytes, fresh, i, fresh_count);
        int64_t size = self->size_bytes[p];
        bytes += size;
        if (!self->ledger)
            pc_queue_admit(&queue, p, size);
        else if (!pc_ledger_keeps_out(self->ledger, p))
            pc_queue_insert(&queue, p, size);
    }
    self->bytes += bytes;
    self->fresh_count = 0;
}

static bool
static_verify(const pc_pending_t *self)
{
    const static_t *state = self->state;
    int64_t n = self->files->count, bytes = 0, cost = 0;
    bool sound = pc_queue_verify(&state->queue, n, self->size_bytes);
    for (int64_t p = 0; p < n; p++) {
        bool pending = state->pending[p >> 6] & pc_bit(p);
        bool out = self->ledger && pc_ledger_is_out(self->ledger, (uint32_t)p);
        sound &= pc_bitset_has(&state->queue.waiting, p) == (pending && !out) && (pending || !out);
        bytes += pending ? self->size_bytes[p] : 0;
        cost += pending && self->ledger ? pc_ledger_cost(self->ledger, (uint32_t)p) : 0;
    }
    sound &= !self->ledger || cost == pc_pending_final_copy(self);
    return sound && bytes == self->bytes;
}

static void
static_free(pc_pending_t *self)
{
    static_t *state = self->state;
    pc_ranking_free(&state->ranking);
    free(state->memory);
}

const pc_pending_kind_t pc_pending_static = {
    static_init, static_send, static_write, static_settle, static_verify, static_free,
};
