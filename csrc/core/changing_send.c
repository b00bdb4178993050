/*
 * changing_send.c -- one cycle's sends from rows and heap, in the order of the keys.
 *
 * A source is a row or the heap.  `heads` is a heap of their first files: the source at its root is
 * drained until it passes the `limit`, the least head of all others, and gets a new head.
 * Invariant while a source is drained: no other head, nor a file that a repair puts before one, comes
 * before the limit.  Where keys are update counts alone, rows simply follow one another.
 */
#include "changing.h"

static const pc_entry_t NONE = {UINT64_MAX, UINT32_MAX, UINT32_MAX};

typedef struct {
    pc_pending_t *pending;
    pc_changing_t *state;
    pc_link_t *link;
    pc_heap_t heads; /* empty where rows follow one another */
    pc_entry_t head[PC_ROWS + 1];
    pc_entry_t limit;
} send_t;

/* Send a file or pass it over; false if the cycle's sends are over. */
static inline bool
offer(send_t *send, uint32_t id)
{
    pc_changing_t *state = send->state;
    pc_link_t *link = send->link;
    int64_t size = send->pending->size_bytes[id];
    link->examined++;
    if (size <= link->left_bytes) {
        pc_link_send_one(link, id, size);
        send->pending->bytes -= size;
        state->pending[id >> 6] &= ~pc_bit(id);
    } else if (link->rule == PC_BUDGET_SKIP && link->left_bytes >= link->smallest_bytes) {
        state->aside[state->aside_count++] = id;
    } else {
        link->blocked = true;
    }
    return !link->blocked;
}

/* A file has come to `entry.source`: keep that source's head, and the limit, not after it. */
static void
note_head(send_t *send, pc_entry_t entry)
{
    pc_heap_t *heads = &send->heads;
    if (pc_entry_before(entry, send->limit))
        send->limit = entry;
    int64_t i = 0;
    while (i < heads->count && heads->entry[i].source != entry.source)
        i++;
    if (i == heads->count)
        pc_heap_push(heads, entry);
    else if (pc_entry_before(entry, heads->entry[i]))
        pc_heap_rise(heads, i, entry);
}

/* A file has moved on since it was put into this row. */
static void
repair(send_t *send, uint32_t id)
{
    pc_changing_t *state = send->state;
    int row = pc_changing_insert(state, id);
    if (send->heads.entry)
        note_head(send, row == PC_HEAP ? state->heap.entry[0] : pc_changing_entry(state, row, id));
}

/* Offer a row's files up to the limit; false if the cycle's sends are over. */
static bool
drain_row(send_t *send, int row)
{
    pc_changing_t *state = send->state;
    pc_bitset_t *set = &state->row[row];
    bool on = true, more = true;
    for (int64_t w = pc_bitset_first_word(set); w >= 0 && on; w = pc_bitset_next_word(set, w)) {
        uint64_t gone = 0;
        for (uint64_t rest = set->word[w]; rest; rest &= rest - 1) {
            uint32_t id = pc_changing_id(state, row, 64 * w + pc_lowest_bit(rest));
            if (pc_changing_row(state, id) != row) {
                repair(send, id);
            } else {
                on = !pc_entry_before(send->limit, pc_changing_entry(state, row, id)) &&
                     (more = offer(send, id));
                if (!on)
                    break;
            }
            gone |= rest & -rest;
        }
        set->word[w] &= ~gone;
        if (!set->word[w])
            pc_bitset_lower(set, w);
    }
    if (on)
        state->occupied &= ~pc_bit(row);
    return more;
}

/* The same for the heap. */
static bool
drain_heap(send_t *send)
{
    pc_heap_t *heap = &send->state->heap;
    while (heap->count > 0) {
        pc_entry_t top = heap->entry[0];
        uint64_t key = pc_estimate_key(&send->state->estimate, top.id);
        if (key != top.key) {
            top.key = key;
            pc_heap_sink(heap, 0, top);
            continue;
        }
        if (pc_entry_before(send->limit, top))
            return true;
        if (!offer(send, top.id))
            return false;
        pc_heap_pop(heap);
    }
    return true;
}

/* A file that no other of this source comes before, or NONE. */
static pc_entry_t
head_of(const pc_changing_t *state, int source)
{
    if (source == PC_HEAP)
        return state->heap.count > 0 ? state->heap.entry[0] : NONE;
    int64_t member = pc_bitset_first(&state->row[source]);
    if (member < 0)
        return NONE;
    return pc_changing_entry(state, source, pc_changing_id(state, source, member));
}

/* Keys are update counts: row after row, then the heap. */
static void
send_row_by_row(send_t *send)
{
    pc_changing_t *state = send->state;
    while (state->occupied) {
        if (!drain_row(send, pc_lowest_bit(state->occupied)))
            return;
    }
    drain_heap(send);
}

static void
send_by_heads(send_t *send)
{
    pc_changing_t *state = send->state;
    pc_heap_t *heads = &send->heads;
    heads->entry = send->head;
    for (uint64_t rows = state->occupied; rows; rows &= rows - 1)
        pc_heap_push(heads, head_of(state, pc_lowest_bit(rows)));
    if (state->heap.count > 0)
        pc_heap_push(heads, state->heap.entry[0]);
    while (heads->count > 0) {
        int source = (int)heads->entry[0].source;
        send->limit = NONE;
        for (int64_t i = 1; i < heads->count && i <= 4; i++) {
            if (pc_entry_before(heads->entry[i], send->limit))
                send->limit = heads->entry[i];
        }
        if (!(source == PC_HEAP ? drain_heap(send) : drain_row(send, source)))
            return;
        pc_entry_t head = head_of(state, source);
        if (head.id == NONE.id)
            pc_heap_pop(heads);
        else
            pc_heap_sink(heads, 0, head);
    }
}

void
pc_changing_send(pc_pending_t *pending, pc_link_t *link)
{
    pc_changing_t *state = pending->state;
    send_t send = {.pending = pending, .state = state, .link = link, .limit = NONE};
    pending->bytes -= pc_link_send_queue(link, &state->read_only, NULL, pending->size_bytes);
    if (link->blocked)
        return;
    if (state->estimate.times_bytes || state->estimate.frequency == PC_FREQUENCY_EXPONENTIAL)
        send_by_heads(&send);
    else
        send_row_by_row(&send);
    while (state->aside_count > 0)
        pc_changing_insert(state, state->aside[--state->aside_count]);
}
