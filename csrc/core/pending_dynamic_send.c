/*
 * pending_dynamic_send.c -- one cycle's sends from rows and heap, in the order of the keys.
 *
 * A source is a row or the heap.  The source whose head comes first is drained until it passes the
 * `limit`, the first of all other heads, and gets a new head.  Invariant: no head comes after the
 * first file of its source, and while a source is drained, no other head, nor a file that a repair
 * puts before one, comes before the limit.  Where keys are update counts alone, rows simply follow
 * one another.
 */
#include "rows.h"

typedef struct {
    pc_pending_t *pending;
    pc_dynamic_t *state;
    pc_budget_t *budget;
    pc_tournament_t *heads; /* NULL: rows follow one another */
    pc_entry_t limit;
} send_t;

/* Send a file, pass it over or hold it out; false if the cycle's sends are over. */
static inline bool
offer(send_t *send, uint32_t id, pc_ledger_t *ledger)
{
    pc_dynamic_t *state = send->state;
    int64_t cost = ledger ? pc_ledger_cost(ledger, id) : send->pending->size_bytes[id];
    send->budget->examined++;
    if (ledger && pc_ledger_holds_out(ledger, id))
        return true;
    pc_offer_t answer = pc_budget_offer(send->budget, cost);
    if (answer == PC_OFFER_TAKEN) {
        pc_budget_sent_one(send->budget, id, cost);
        if (ledger)
            pc_ledger_sent(ledger, id, cost);
        send->pending->bytes -= send->pending->size_bytes[id];
        state->pending[id >> 6] &= ~pc_bit(id);
    } else if (answer == PC_OFFER_PASSED) {
        state->aside[state->aside_count++] = id;
    }
    return answer != PC_OFFER_REFUSED;
}

/* A file has moved on since it was put into the row that is being drained. */
__attribute__((always_inline)) static inline void
repair(send_t *send, uint32_t id)
{
    pc_dynamic_t *state = send->state;
    int row = pc_dynamic_insert(state, id);
    if (!send->heads)
        return;
    pc_entry_t entry = row == PC_HEAP ? state->heap.entry[0] : pc_dynamic_entry(state, row, id);
    if (entry < pc_tournament_get(send->heads, row)) {
        pc_tournament_set(send->heads, row, entry);
        send->limit = pc_entry_first(send->limit, entry);
    }
}

/* Offer a row's files up to the limit or the end of the cycle's sends; returns its new head. */
__attribute__((always_inline)) static inline pc_entry_t
drain_row_by(send_t *send, int row, pc_ledger_t *ledger)
{
    pc_dynamic_t *state = send->state;
    pc_bitset_t *set = &state->row[row];
    for (int64_t w = pc_bitset_first_word(set); w >= 0; w = pc_bitset_next_word(set, w)) {
        uint64_t rest = set->word[w];
        for (; rest; rest &= rest - 1) {
            uint32_t id = pc_dynamic_id(state, row, 64 * w + pc_lowest_bit(rest));
            if (pc_dynamic_row(state, id) != row) {
                repair(send, id);
                continue;
            }
            pc_entry_t entry = pc_dynamic_entry(state, row, id);
            if (send->limit < entry || !offer(send, id, ledger)) {
                set->word[w] = rest;
                return entry;
            }
        }
        set->word[w] = 0; /* a repair never comes back to the row that is drained */
        pc_bitset_lower(set, w);
    }
    state->occupied &= ~pc_bit(row);
    return PC_NO_ENTRY;
}

/* Compiled twice: without a ledger nothing of it is in the way. */
static pc_entry_t
drain_row(send_t *send, int row)
{
    pc_ledger_t *ledger = send->pending->ledger;
    return ledger ? drain_row_by(send, row, ledger) : drain_row_by(send, row, NULL);
}

/* The same for the heap. */
static pc_entry_t
drain_heap(send_t *send)
{
    pc_heap_t *heap = &send->state->heap;
    pc_ledger_t *ledger = send->pending->ledger;
    while (heap->count > 0) {
        pc_entry_t top = heap->entry[0];
        uint32_t id = pc_entry_id(top);
        pc_entry_t true_top = pc_entry(pc_estimate_key(&send->state->estimate, id), id, PC_HEAP);
        if (true_top != top) {
            pc_heap_sink(heap, 0, true_top);
            continue;
        }
        if (send->limit < top || !offer(send, id, ledger))
            return top;
        pc_heap_pop(heap);
    }
    return PC_NO_ENTRY;
}

/* A file that no other of this source comes before, or PC_NO_ENTRY. */
static pc_entry_t
head_of(const pc_dynamic_t *state, int source)
{
    if (source == PC_HEAP)
        return state->heap.count > 0 ? state->heap.entry[0] : PC_NO_ENTRY;
    if (!(state->occupied & pc_bit(source)))
        return PC_NO_ENTRY;
    int64_t member = pc_bitset_first(&state->row[source]);
    if (member < 0)
        return PC_NO_ENTRY;
    return pc_dynamic_entry(state, source, pc_dynamic_id(state, source, member));
}

/* Keys are update counts: row after row, then the heap. */
static void
send_row_by_row(send_t *send)
{
    pc_dynamic_t *state = send->state;
    while (state->occupied && !send->budget->blocked)
        drain_row(send, pc_lowest_bit(state->occupied));
    if (!send->budget->blocked)
        drain_heap(send);
}

static void
send_by_heads(send_t *send)
{
    pc_dynamic_t *state = send->state;
    pc_tournament_t *heads = send->heads = &state->heads;
    for (int source = 0; source < PC_SOURCES; source++)
        heads->node[PC_SOURCES + source] = head_of(state, source);
    pc_tournament_build(heads);
    while (pc_tournament_first(heads) != PC_NO_ENTRY && !send->budget->blocked) {
        int source = pc_entry_source(pc_tournament_first(heads));
        send->limit = pc_tournament_first_but(heads, source);
        pc_tournament_set(heads, source,
                          source == PC_HEAP ? drain_heap(send) : drain_row(send, source));
    }
}

static void
begin_with_ledger(pc_pending_t *pending)
{
    uint32_t id;
    pc_ledger_begin_cycle(pending->ledger);
    while (pc_ledger_comes_back(pending->ledger, &id))
        pc_dynamic_insert(pending->state, id);
}

void
pc_dynamic_send(pc_pending_t *pending, pc_budget_t *budget)
{
    pc_dynamic_t *state = pending->state;
    send_t send = {pending, state, budget, NULL, PC_NO_ENTRY};
    if (pending->ledger)
        begin_with_ledger(pending);
    int64_t first = pc_budget_send_queue(budget, &state->read_only, NULL, pending->size_bytes);
    pending->bytes -= first;
    if (pending->ledger)
        pending->ledger->bytes -= first; /* never written, they cost their sizes */
    if (budget->blocked)
        return;
    if (state->estimate.times_bytes || state->estimate.scored)
        send_by_heads(&send);
    else
        send_row_by_row(&send);
    while (state->aside_count > 0)
        pc_dynamic_insert(state, state->aside[--state->aside_count]);
}
