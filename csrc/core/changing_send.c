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
    pc_heap_t heads; /* unused where rows follow one another */
    pc_entry_t entry[PC_ROWS + 1]; /* of heads */
    pc_entry_t known[PC_ROWS + 1]; /* by source: its entry in heads, or NONE */
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
    pc_entry_t *known = &send->known[entry.source];
    if (!pc_entry_before(entry, *known))
        return;
    if (pc_entry_before(entry, send->limit))
        send->limit = entry;
    int64_t i = 0;
    while (i < heads->count && heads->entry[i].source != entry.source)
        i++;
    heads->count += i == heads->count;
    pc_heap_rise(heads, i, entry);
    *known = entry;
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

/* Offer a row's files up to the limit or the end of the cycle's sends; returns its new head. */
static pc_entry_t
drain_row(send_t *send, int row)
{
    pc_changing_t *state = send->state;
    pc_bitset_t *set = &state->row[row];
    pc_entry_t head = NONE;
    for (int64_t w = pc_bitset_first_word(set); w >= 0; w = pc_bitset_next_word(set, w)) {
        uint64_t rest = set->word[w];
        for (; rest; rest &= rest - 1) {
            uint32_t id = pc_changing_id(state, row, 64 * w + pc_lowest_bit(rest));
            if (pc_changing_row(state, id) != row) {
                repair(send, id);
                continue;
            }
            pc_entry_t entry = pc_changing_entry(state, row, id);
            if (pc_entry_before(send->limit, entry) || !offer(send, id)) {
                head = entry;
                break;
            }
        }
        set->word[w] = rest; /* a repair never comes back to the row that is drained */
        if (rest)
            return head;
        pc_bitset_lower(set, w);
    }
    state->occupied &= ~pc_bit(row);
    return NONE;
}

/* The same for the heap. */
static pc_entry_t
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
        if (pc_entry_before(send->limit, top) || !offer(send, top.id))
            return top;
        pc_heap_pop(heap);
    }
    return NONE;
}

/* A file that no other of this source comes before, or NONE. */
static pc_entry_t
head_of(const pc_changing_t *state, int source)
{
    if (source == PC_HEAP)
        return state->heap.count > 0 ? state->heap.entry[0] : NONE;
    if (!(state->occupied & pc_bit(source)))
        return NONE;
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
    while (state->occupied && !send->link->blocked)
        drain_row(send, pc_lowest_bit(state->occupied));
    if (!send->link->blocked)
        drain_heap(send);
}

static void
send_by_heads(send_t *send)
{
    pc_changing_t *state = send->state;
    pc_heap_t *heads = &send->heads;
    heads->entry = send->entry;
    for (int source = 0; source <= PC_ROWS; source++) {
        send->known[source] = head_of(state, source);
        if (send->known[source].id != NONE.id)
            pc_heap_push(heads, send->known[source]);
    }
    while (heads->count > 0 && !send->link->blocked) {
        int source = (int)heads->entry[0].source;
        send->limit = NONE;
        for (int64_t i = 1; i < heads->count && i <= 4; i++) {
            if (pc_entry_before(heads->entry[i], send->limit))
                send->limit = heads->entry[i];
        }
        pc_entry_t head = source == PC_HEAP ? drain_heap(send) : drain_row(send, source);
        send->known[source] = head;
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
    send_t send;
    send.pending = pending;
    send.state = state;
    send.link = link;
    send.limit = NONE;
    send.heads = (pc_heap_t){NULL, 0};
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
