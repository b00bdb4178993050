/* entry.h - a shortcut to a slot, in one word that is read and written at once.
 *
 * An entry is nothing, or says that a descriptor is of no interest, or that its file had no name at
 * some time, or leads to a slot.  Invariant: an entry of an older epoch counts as nothing, and one
 * whose generation is no longer the slot's cannot pin it. */
#ifndef PCM_ENTRY_H
#define PCM_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "slots.h"
#include "state.h"

/* Kind (2 bits), slot (12), epoch (18), the slot's generation, or the time (32). */
enum { PCM_UNKNOWN = 0, PCM_IGNORED = 1, PCM_IN_SLOT = 2, PCM_NAMELESS = 3 };
#define PCM_EPOCH_MASK 0x3ffffu

static inline uint64_t
pcm_entry_make(uint32_t kind, const pcm_slot_t *slot)
{
    uint64_t entry = kind, epoch = atomic_load_explicit(&pcm_state->epoch, memory_order_relaxed);

    if (slot != NULL) {
        entry |= (uint64_t)(slot - pcm_state->slots) << 2;
        entry |= (uint64_t)pcm_slot_generation(atomic_load(&slot->state)) << 32;
    }
    return entry | (epoch & PCM_EPOCH_MASK) << 14;
}

static inline uint32_t
pcm_entry_kind(uint64_t entry)
{
    uint32_t epoch = atomic_load_explicit(&pcm_state->epoch, memory_order_relaxed);

    return ((uint32_t)(entry >> 14) & PCM_EPOCH_MASK) == (epoch & PCM_EPOCH_MASK) ? entry & 3
                                                                                  : PCM_UNKNOWN;
}

static inline pcm_slot_t *
pcm_entry_slot(uint64_t entry)
{
    return &pcm_state->slots[entry >> 2 & (PCM_SLOTS - 1)];
}

static inline uint32_t
pcm_entry_generation(uint64_t entry)
{
    return (uint32_t)(entry >> 32);
}

/* A file has no name now; the time is kept in units of 2^20 ns. */
static inline uint64_t
pcm_entry_nameless(uint64_t now)
{
    return pcm_entry_make(PCM_NAMELESS, NULL) | now >> 20 << 32;
}

/* Whether a file had no name a moment ago. */
static inline bool
pcm_entry_is_nameless(uint64_t entry, uint64_t now)
{
    return (uint32_t)(now >> 20) - (uint32_t)(entry >> 32) < PCM_NAME_NS >> 20;
}

pcm_slot_t *
pcm_name_recall(uint64_t tag, uint64_t now);
void
pcm_name_remember(uint64_t tag, pcm_slot_t *slot);
void
pcm_place_remember(uint64_t identity, pcm_slot_t *slot);
size_t
pcm_place_recall(uint64_t identity, char *out);

#endif
