/*
 * pending_rounds.c -- classic rounds: send what was dirty when the round began, in a fixed order.
 *
 * Invariant: `queue` holds what the round has still to send, `dirty` what the next round will send;
 * a file may be in both.  `bytes` counts their union: a final copy would send each file once.
 */
#include "pending.h"

#include <stdlib.h>

typedef struct {
    pc_ranking_t ranking;
    pc_queue_t queue, dirty;
    uint64_t *memory;
} rounds_t;

static int
rounds_init(pc_pending_t *self)
{
    int64_t n = self->files->count;
    rounds_t *state = self->state = calloc(1, sizeof *state);
    if (!state)
        return PC_ERROR_MEMORY;
    int status = pc_pending_rank(self, &state->ranking, 2 * pc_queue_words(n), &state->memory);
    if (status < 0)
        return status;
    pc_queue_init(&state->dirty, n, pc_queue_init(&state->queue, n, state->memory));
    pc_queue_fill(&state->queue, n, self->size_bytes);
    return 0;
}

static int
rounds_send(pc_pending_t *self, pc_budget_t *budget)
{
    rounds_t *state = self->state;
    if (pc_queue_is_empty(&state->queue)) {
        pc_queue_t empty = state->queue;
        state->queue = state->dirty;
        state->dirty = empty;
        if (pc_queue_is_empty(&state->queue))
            return PC_STOP_CLEAN;
    }
    self->bytes -=
        pc_budget_send_queue(budget, &state->queue, state->dirty.waiting.word, self->size_bytes);
    self->rounds_completed += pc_queue_is_empty(&state->queue);
    return PC_STOP_CYCLES;
}

/* `exempt`: with tracking from the moment of sending, a file in the queue stays clean. */
static void
rounds_write(pc_pending_t *self, const uint32_t *place, int64_t count)
{
    rounds_t *state = self->state;
    uint8_t *dirty = (uint8_t *)state->dirty.waiting.word;
    const uint8_t *queued = (const uint8_t *)state->queue.waiting.word;
    unsigned exempt = self->plan->dirty_tracking == PC_DIRTY_SENT ? UINT8_MAX : 0;
    uint32_t *fresh = self->fresh;
    int64_t fresh_count = self->fresh_count;
    for (int64_t i = 0; i < count; i++) {
        uint32_t p = place[i];
        unsigned before = dirty[pc_byte(p)];
        unsigned after = before | (1U << (p & 7) & ~(queued[pc_byte(p)] & exempt));
        fresh[fresh_count] = p;
        fresh_count += before != after;
        dirty[pc_byte(p)] = (uint8_t)after;
    }
    self->fresh_count = fresh_count;
}

static void
rounds_settle(pc_pending_t *self)
{
    rounds_t *state = self->state;
    for (int64_t i = 0; i < self->fresh_count; i++) {
        uint32_t p = self->fresh[i];
        pc_prefetch_ahead(self->size_bytes, self->fresh, i, self->fresh_count);
        int64_t size = self->size_bytes[p];
        pc_queue_admit(&state->dirty, p, size);
        self->bytes += pc_bitset_has(&state->queue.waiting, p) ? 0 : size;
    }
    self->fresh_count = 0;
}

static bool
rounds_verify(const pc_pending_t *self)
{
    const rounds_t *state = self->state;
    int64_t n = self->files->count, bytes = 0;
    for (int64_t p = 0; p < n; p++) {
        bool counts =
            pc_bitset_has(&state->queue.waiting, p) || pc_bitset_has(&state->dirty.waiting, p);
        bytes += counts ? self->size_bytes[p] : 0;
    }
    return bytes == self->bytes && pc_queue_verify(&state->queue, n, self->size_bytes) &&
           pc_queue_verify(&state->dirty, n, self->size_bytes);
}

static void
rounds_free(pc_pending_t *self)
{
    rounds_t *state = self->state;
    pc_ranking_free(&state->ranking);
    free(state->memory);
}

const pc_pending_kind_t pc_pending_rounds = {
    rounds_init, rounds_send, rounds_write, rounds_settle, rounds_verify, rounds_free,
};
