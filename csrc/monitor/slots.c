/* slots.c - counts per path, without locks.
 *
 * The slots form a set-associative table: a path's hash names PCM_WAYS neighbouring slots, of which
 * it may take any.  Invariant: a slot's path changes only while nobody has pinned it, and with it
 * its generation, so that whoever remembers (slot, generation) either pins that very path or fails.
 * Counts are taken out by exchange; what two threads add at once is reported by one or the other.
 */
#define _GNU_SOURCE
#include <string.h>

#include "report.h"
#include "slots.h"
#include "state.h"
#include "text.h"
#include "thread.h"
#include "wire.h"

#include "rules.h"

#define TALLY_GENERATION 42 /* bits below it */
#define TALLY_WRITES 30
#define TALLY_MOST_WRITES 0xfffu
#define TALLY_MOST_BYTES ((1ull << TALLY_WRITES) - 1)

#define PINS 0xffffull
#define BUSY PINS /* as the number of pins: being given to another path */

bool
pcm_slot_pin(pcm_slot_t *slot, uint32_t generation)
{
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);

    do {
        if (pcm_slot_generation(state) != generation || (state & PINS) >= BUSY - 1)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&slot->state, &state, state + 1,
                                                    memory_order_acquire, memory_order_relaxed));
    return true;
}

void
pcm_slot_unpin(pcm_slot_t *slot)
{
    atomic_fetch_sub_explicit(&slot->state, 1, memory_order_release);
}

static uint64_t
tally_of(uint64_t generation)
{
    return generation << TALLY_GENERATION;
}

/* Report what is pending, by way of `batch` if there is one; the slot is pinned, or busy.  Returns
 * the number of reports, 0 or 1. */
static uint32_t
flush_slot(pcm_slot_t *slot, uint64_t now, pcm_batch_t *batch)
{
    uint64_t tally = atomic_fetch_and(&slot->tally, tally_of(UINT64_MAX));
    pcm_record_t record = {
        .kind = PCM_KIND_ACCESS,
        .use = atomic_exchange(&slot->use, 0),
        .first_ns = atomic_exchange(&slot->first_ns, 0),
        .last_ns = atomic_load(&slot->last_ns),
        .bytes = atomic_exchange(&slot->bytes, 0),
        .identity = atomic_load(&slot->identity),
        .born_ns = atomic_load(&slot->born_ns),
        .length = atomic_exchange(&slot->length, 0),
        .opens = atomic_exchange(&slot->opens, 0),
        .writes = atomic_exchange(&slot->writes, 0),
        .changes = atomic_exchange(&slot->changes, 0),
    };

    record.writes += (uint32_t)(tally >> TALLY_WRITES & TALLY_MOST_WRITES);
    record.bytes += tally & TALLY_MOST_BYTES;
    if (record.writes > 0)
        record.use |= PCM_WRITE;
    if (record.use == 0 && record.opens == 0 && record.writes == 0 && record.changes == 0 &&
        record.bytes == 0)
        return 0;
    if (record.first_ns == 0 || record.first_ns > record.last_ns)
        record.first_ns = record.last_ns;
    atomic_store_explicit(&slot->reported_ns, now, memory_order_relaxed);
    pcm_report(&record, slot->path, slot->path_size, batch);
    return 1;
}

static void
set_dirty(pcm_slot_t *slot)
{
    size_t index = (size_t)(slot - pcm_state->slots);
    uint64_t bit = 1ull << index % 64;

    if ((atomic_load(&pcm_state->dirty[index / 64]) & bit) == 0)
        atomic_fetch_or(&pcm_state->dirty[index / 64], bit);
}

static void
note_time(pcm_slot_t *slot, uint64_t now)
{
    uint64_t none = 0;

    if (atomic_load_explicit(&slot->first_ns, memory_order_relaxed) == 0)
        atomic_compare_exchange_strong(&slot->first_ns, &none, now);
    atomic_store_explicit(&slot->last_ns, now, memory_order_relaxed);
}

/* Whether what was just added must be reported now, rather than with what follows: it says more
 * about the path's use than was said before, or the last report is an interval ago. */
static bool
is_due(const pcm_slot_t *slot, uint32_t use, uint64_t now)
{
    return (use & ~atomic_load_explicit(&slot->reported_use, memory_order_relaxed)) != 0 ||
           now - atomic_load_explicit(&slot->reported_ns, memory_order_relaxed) >=
               pcm_config.interval_ns ||
           atomic_load_explicit(&pcm_exiting, memory_order_relaxed);
}

/* Report what was added to a pinned slot, or see to it that somebody will. */
static void
attend(pcm_slot_t *slot, uint32_t use, uint64_t now)
{
    if (is_due(slot, use, now)) {
        atomic_fetch_or_explicit(&slot->reported_use, use, memory_order_relaxed);
        flush_slot(slot, now, NULL);
        return;
    }
    atomic_thread_fence(memory_order_seq_cst); /* the counts come before the bit */
    set_dirty(slot);
    pcm_flusher_want();
    if (atomic_load(&pcm_state->flusher_closing) != 0)
        flush_slot(slot, now, NULL);
}

/* Add an event to a pinned slot. */
void
pcm_slot_add(pcm_slot_t *slot, const pcm_event_t *event, uint64_t now)
{
    uint32_t use;

    if (event->opens > 0)
        atomic_fetch_add_explicit(&slot->opens, event->opens, memory_order_relaxed);
    if (event->writes > 0)
        atomic_fetch_add_explicit(&slot->writes, event->writes, memory_order_relaxed);
    if (event->changes > 0)
        atomic_fetch_add_explicit(&slot->changes, event->changes, memory_order_relaxed);
    if (event->bytes > 0)
        atomic_fetch_add_explicit(&slot->bytes, event->bytes, memory_order_relaxed);
    if (event->identity != 0) {
        atomic_store_explicit(&slot->identity, event->identity, memory_order_relaxed);
        atomic_store_explicit(&slot->born_ns, event->born_ns, memory_order_relaxed);
    }
    if (event->length != 0 && atomic_load_explicit(&slot->length, memory_order_relaxed) == 0)
        atomic_store_explicit(&slot->length, event->length, memory_order_relaxed);
    use = atomic_load_explicit(&slot->use, memory_order_relaxed);
    /* A name that is made again is not reported as removed. */
    if ((use & PCM_REMOVED) != 0 && (event->opens > 0 || event->changes > 0))
        use = atomic_fetch_and(&slot->use, ~(uint32_t)PCM_REMOVED) & ~(uint32_t)PCM_REMOVED;
    if ((event->use & ~use) != 0)
        atomic_fetch_or_explicit(&slot->use, event->use, memory_order_relaxed);
    note_time(slot, now);
    attend(slot, event->use, now);
}

/* Move what the tally holds to the wide counters; `with` is what it shall hold then. */
static void
empty_tally(pcm_slot_t *slot, uint64_t with)
{
    uint64_t tally = atomic_exchange(&slot->tally, with);

    atomic_fetch_add(&slot->writes, (uint32_t)(tally >> TALLY_WRITES & TALLY_MOST_WRITES));
    atomic_fetch_add(&slot->bytes, tally & TALLY_MOST_BYTES);
}

/* Add to the tally of a generation; false: it is another's by now, or full. */
static bool
add_to_tally(pcm_slot_t *slot, uint32_t generation, uint64_t bytes)
{
    uint64_t tally = atomic_load_explicit(&slot->tally, memory_order_relaxed);

    do {
        if ((tally & tally_of(UINT64_MAX)) != tally_of(generation) ||
            (tally & TALLY_MOST_BYTES) + bytes > TALLY_MOST_BYTES ||
            (tally >> TALLY_WRITES & TALLY_MOST_WRITES) == TALLY_MOST_WRITES)
            return false;
    } while (!atomic_compare_exchange_weak(&slot->tally, &tally,
                                           tally + (1ull << TALLY_WRITES) + bytes));
    return true;
}

/* Add a write to a slot that is not pinned; false: it has another path now, or the tally is full
 * and was emptied. */
bool
pcm_slot_add_write(pcm_slot_t *slot, uint32_t generation, uint64_t bytes, uint64_t now)
{
    size_t index = (size_t)(slot - pcm_state->slots);
    bool fits = bytes <= TALLY_MOST_BYTES && add_to_tally(slot, generation, bytes);

    if (fits) {
        note_time(slot, now);
        if (!is_due(slot, PCM_WRITE, now) && atomic_load(&pcm_state->flusher_closing) == 0 &&
            atomic_load(&pcm_state->flusher_tid) != 0 &&
            (atomic_load(&pcm_state->dirty[index / 64]) & 1ull << index % 64) != 0)
            return true;
    }
    /* Not pinnable means that it was taken for another path, and that reported the write. */
    if (pcm_slot_pin(slot, generation)) {
        if (fits)
            attend(slot, PCM_WRITE, now);
        else
            empty_tally(slot, tally_of(generation));
        pcm_slot_unpin(slot);
    }
    return fits;
}

/* Whether a pinned slot is this path's. */
static bool
holds(const pcm_slot_t *slot, const char *path, size_t size)
{
    return slot->path_size == size && memcmp(slot->path, path, size) == 0;
}

static uint64_t
last_use(const pcm_slot_t *slot)
{
    uint64_t last_ns = atomic_load_explicit(&slot->last_ns, memory_order_relaxed);
    uint64_t named_ns = atomic_load_explicit(&slot->named_ns, memory_order_relaxed);

    return last_ns > named_ns ? last_ns : named_ns;
}

/* Take an unpinned slot away from its path and give it to this one. */
static bool
slot_take(pcm_slot_t *slot, uint64_t state, uint64_t hash, const char *path, size_t size)
{
    uint64_t generation = state >> 16, next = generation + 1;

    if ((uint32_t)next == 0)
        next++;
    if (!atomic_compare_exchange_strong(&slot->state, &state, next << 16 | BUSY))
        return false;
    /* From here on no write adds to the old path's tally; then what it amounts to is reported. */
    empty_tally(slot, tally_of(next));
    if (generation != 0)
        flush_slot(slot, pcm_now(), NULL);
    atomic_store(&slot->reported_use, 0);
    atomic_store(&slot->reported_ns, 0);
    atomic_store(&slot->name_tag, 0);
    atomic_store(&slot->identity, 0);
    atomic_store(&slot->born_ns, 0);
    atomic_store(&slot->length, 0);
    atomic_store(&slot->hash, hash);
    slot->path_size = (uint32_t)size;
    memcpy(slot->path, path, size);
    atomic_store_explicit(&slot->state, next << 16 | 1, memory_order_release);
    return true;
}

/* The slot of a path that something was found to have, pinned; NULL if the path is too long or all
 * its ways are in use. */
pcm_slot_t *
pcm_slot_pin_path(const char *path, size_t size)
{
    uint64_t hash = pcm_hash(0, path, size), state, now = pcm_now();
    pcm_slot_t *set = &pcm_state->slots[hash % (PCM_SLOTS / PCM_WAYS) * PCM_WAYS];
    pcm_slot_t *oldest = NULL;
    uint64_t oldest_ns = UINT64_MAX, oldest_state = 0;

    if (size > PCM_PATH_INLINE)
        return NULL;
    for (pcm_slot_t *slot = set; slot < set + PCM_WAYS; slot++) {
        state = atomic_load_explicit(&slot->state, memory_order_acquire);
        if (state >> 16 != 0 && atomic_load_explicit(&slot->hash, memory_order_relaxed) == hash &&
            pcm_slot_pin(slot, pcm_slot_generation(state))) {
            if (holds(slot, path, size)) {
                atomic_store_explicit(&slot->named_ns, now, memory_order_relaxed);
                return slot;
            }
            pcm_slot_unpin(slot);
        }
        uint64_t used_ns = state >> 16 == 0 ? 0 : last_use(slot);
        if ((state & PINS) == 0 && used_ns < oldest_ns) {
            oldest = slot;
            oldest_ns = used_ns;
            oldest_state = state;
        }
    }
    if (oldest == NULL || !slot_take(oldest, oldest_state, hash, path, size))
        return NULL;
    atomic_store_explicit(&oldest->named_ns, now, memory_order_relaxed);
    return oldest;
}

/* Report what is pending of one path: something is coming that must not be mixed with it. */
void
pcm_slot_report(const char *path, size_t size)
{
    uint64_t hash = pcm_hash(0, path, size);
    pcm_slot_t *set = &pcm_state->slots[hash % (PCM_SLOTS / PCM_WAYS) * PCM_WAYS];

    for (pcm_slot_t *slot = set; slot < set + PCM_WAYS; slot++) {
        uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
        if (state >> 16 == 0 || atomic_load_explicit(&slot->hash, memory_order_relaxed) != hash ||
            !pcm_slot_pin(slot, pcm_slot_generation(state)))
            continue;
        if (holds(slot, path, size))
            flush_slot(slot, pcm_now(), NULL);
        pcm_slot_unpin(slot);
    }
}

/* Report what is pending; returns how many reports that took. */
uint32_t
pcm_slots_flush(void)
{
    uint32_t reports = 0;
    uint64_t now = pcm_now();
    pcm_batch_t *batch = (pcm_batch_t *)(void *)pcm_scratch_acquire();

    if (batch != NULL)
        batch->size = 0;
    for (size_t word = 0; word < PCM_SLOTS / 64; word++) {
        uint64_t bits = 0;
        if (atomic_load(&pcm_state->dirty[word]) != 0)
            bits = atomic_exchange(&pcm_state->dirty[word], 0);
        for (; bits != 0; bits &= bits - 1) {
            pcm_slot_t *slot = &pcm_state->slots[word * 64 + (size_t)__builtin_ctzll(bits)];
            uint64_t state = atomic_load(&slot->state);
            /* Not pinnable means that it is being taken over, and that flushes it. */
            if (pcm_slot_pin(slot, pcm_slot_generation(state))) {
                reports += flush_slot(slot, now, batch);
                pcm_slot_unpin(slot);
            }
        }
    }
    if (batch != NULL)
        pcm_batch_send(batch);
    pcm_scratch_release((char *)batch);
    return reports;
}

/* Whether any slot has something to be reported. */
bool
pcm_slots_pending(void)
{
    for (size_t word = 0; word < PCM_SLOTS / 64; word++)
        if (atomic_load(&pcm_state->dirty[word]) != 0)
            return true;
    return false;
}
