/*
 * pending_static.c -- pending files under a key that never changes.
 *
 * A file's place is its rank, found once by sorting.  Invariant: the queue holds exactly the places
 * of the pending files, so rank order is bit order, and sizes are read in the order they are sent.
 */
#include "pending.h"

#include <stdlib.h>

typedef struct {
    pc_ranking_t ranking;
    pc_queue_t queue;
    uint64_t *memory;
} static_t;

static int
static_init(pc_pending_t *self)
{
    int64_t n = self->files->count;
    static_t *state = self->state = calloc(1, sizeof *state);
    if (!state)
        return PC_ERROR_MEMORY;
    int status = pc_pending_rank(self, &state->ranking, pc_queue_words(n), &state->memory);
    if (status < 0)
        return status;
    pc_queue_init(&state->queue, n, state->memory);
    pc_queue_fill(&state->queue, n, self->size_bytes);
    return 0;
}

static int
static_send(pc_pending_t *self, pc_budget_t *budget)
{
    static_t *state = self->state;
    self->bytes -= pc_budget_send_queue(budget, &state->queue, NULL, self->size_bytes);
    return PC_STOP_CYCLES;
}

/* No branch: whether a write hits a clean file is a coin that no processor predicts. */
static void
static_write(pc_pending_t *self, const uint32_t *place, int64_t count)
{
    static_t *state = self->state;
    uint8_t *byte = (uint8_t *)state->queue.waiting.word;
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
    static_t *state = self->state;
    for (int64_t i = 0; i < self->fresh_count; i++) {
        pc_prefetch_ahead(self->size_bytes, self->fresh, i, self->fresh_count);
        int64_t size = self->size_bytes[self->fresh[i]];
        pc_queue_admit(&state->queue, self->fresh[i], size);
        self->bytes += size;
    }
    self->fresh_count = 0;
}

static bool
static_verify(const pc_pending_t *self)
{
    const static_t *state = self->state;
    int64_t n = self->files->count, bytes = 0;
    for (int64_t w = 0; w < pc_words_for(n); w++)
        bytes += state->queue.word_bytes[w];
    return bytes == self->bytes && pc_queue_verify(&state->queue, n, self->size_bytes);
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
