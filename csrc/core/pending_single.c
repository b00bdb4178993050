/*
 * pending_single.c -- pending files under a key that never changes, offered one by one: for runs with
 * a ledger (ledger.h), under which 64 neighbours have no common cost or fate.
 *
 * A file's place is its rank.  Invariant: `waiting` holds the places of the pending files that are
 * not held out.
 */
#include "pending.h"

#include <stdlib.h>

typedef struct {
    pc_ranking_t ranking;
    pc_bitset_t waiting;
    uint64_t *pending; /* a bit per place */
    uint64_t *memory;  /* of all bitmaps above */
} single_t;

static int
single_init(pc_pending_t *self)
{
    int64_t n = self->files->count, words = pc_words_for(n);
    single_t *state = self->state = calloc(1, sizeof *state);
    if (!state)
        return PC_ERROR_MEMORY;
    int status = pc_pending_rank(self, &state->ranking, pc_bitset_words(n) + words, &state->memory);
    if (status < 0)
        return status;
    state->pending = pc_bitset_init(&state->waiting, n, state->memory);
    for (int64_t p = 0; p < n; p++) {
        pc_bitset_insert(&state->waiting, p);
        state->pending[p >> 6] |= pc_bit(p);
    }
    return 0;
}

/*
 * Offer the files of one word in turn, until the cycle's sends end; returns those that wait no more.
 */
static uint64_t
offer_word(pc_pending_t *self, pc_budget_t *budget, int64_t w)
{
    single_t *state = self->state;
    pc_ledger_t *ledger = self->ledger;
    bool rated = ledger->writes;
    uint64_t sent = 0, held = 0;
    for (uint64_t rest = state->waiting.word[w]; rest && !budget->blocked; rest &= rest - 1) {
        uint32_t place = (uint32_t)(64 * w + pc_lowest_bit(rest));
        int64_t cost = pc_ledger_cost(ledger, place);
        budget->examined++;
        if (rated && pc_ledger_holds_out(ledger, place)) {
            held |= rest & -rest;
        } else if (pc_budget_offer(budget, cost) == PC_OFFER_TAKEN) {
            pc_budget_sent_one(budget, place, cost);
            pc_ledger_sent(ledger, place, cost);
            self->bytes -= self->size_bytes[place];
            sent |= rest & -rest;
        }
    }
    state->pending[w] &= ~sent;
    return sent | held;
}

static int
single_send(pc_pending_t *self, pc_budget_t *budget)
{
    pc_bitset_t *waiting = &((single_t *)self->state)->waiting;
    uint32_t place;
    pc_ledger_begin_cycle(self->ledger);
    while (pc_ledger_comes_back(self->ledger, &place))
        pc_bitset_insert(waiting, place);
    for (int64_t w = pc_bitset_first_word(waiting); w >= 0 && !budget->blocked;
         w = pc_bitset_next_word(waiting, w)) {
        waiting->word[w] &= ~offer_word(self, budget, w);
        if (!waiting->word[w])
            pc_bitset_lower(waiting, w);
    }
    return PC_STOP_CYCLES;
}

/* No branch on the files' state, for the reason given in pending_static.c. */
static void
single_write(pc_pending_t *self, const uint32_t *place, int64_t count)
{
    uint8_t *byte = (uint8_t *)((single_t *)self->state)->pending;
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
single_settle(pc_pending_t *self)
{
    pc_bitset_t waiting = ((single_t *)self->state)->waiting;
    const uint32_t *fresh = self->fresh;
    bool limited = self->ledger->sends; /* a fresh file was not held out for its rate */
    int64_t bytes = 0;
    for (int64_t i = 0; i < self->fresh_count; i++) {
        uint32_t p = fresh[i];
        pc_prefetch_ahead(self->size_bytes, fresh, i, self->fresh_count);
        bytes += self->size_bytes[p];
        if (!limited || !pc_ledger_keeps_out(self->ledger, p))
            pc_bitset_insert(&waiting, p);
    }
    self->bytes += bytes;
    self->fresh_count = 0;
}

static bool
single_verify(const pc_pending_t *self)
{
    const single_t *state = self->state;
    int64_t n = self->files->count, bytes = 0, cost = 0;
    bool sound = pc_bitset_verify(&state->waiting, n);
    for (int64_t p = 0; p < n; p++) {
        bool pending = state->pending[p >> 6] & pc_bit(p);
        bool out = self->ledger->out[p >> 6] & pc_bit(p);
        sound &= pc_bitset_has(&state->waiting, p) == (pending && !out) && (pending || !out);
        bytes += pending ? self->size_bytes[p] : 0;
        cost += pending ? pc_ledger_cost(self->ledger, (uint32_t)p) : 0;
    }
    return sound && bytes == self->bytes && cost == pc_pending_final_copy(self);
}

static void
single_free(pc_pending_t *self)
{
    single_t *state = self->state;
    pc_ranking_free(&state->ranking);
    free(state->memory);
}

const pc_pending_kind_t pc_pending_single = {
    single_init, single_send, single_write, single_settle, single_verify, single_free,
};
