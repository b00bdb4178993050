/* entry.c - shortcuts to slots: by a name, and by a file.
 *
 * Invariant: a shortcut says what it was made for; one that was overwritten since, or whose slot has
 * another path by now, leads nowhere. */
#define _GNU_SOURCE
#include <string.h>

#include "entry.h"
#include "slots.h"
#include "state.h"

#include "rules.h"

void
pcm_name_remember(uint64_t tag, pcm_slot_t *slot)
{
    if (tag == 0)
        return;
    atomic_store_explicit(&slot->name_tag, tag, memory_order_relaxed);
    atomic_store_explicit(&pcm_state->names[tag % PCM_NAMES], pcm_entry_make(PCM_IN_SLOT, slot),
                          memory_order_relaxed);
}

/* The slot that a tag stands for, pinned; NULL: it is not remembered, or was for too long. */
pcm_slot_t *
pcm_name_recall(uint64_t tag, uint64_t now)
{
    uint64_t entry = atomic_load_explicit(&pcm_state->names[tag % PCM_NAMES], memory_order_relaxed);
    pcm_slot_t *slot = pcm_entry_slot(entry);

    if (tag == 0 || pcm_entry_kind(entry) != PCM_IN_SLOT || !pcm_slot_is_named(slot, now) ||
        !pcm_slot_pin(slot, pcm_entry_generation(entry)))
        return NULL;
    if (atomic_load_explicit(&slot->name_tag, memory_order_relaxed) == tag)
        return slot;
    pcm_slot_unpin(slot);
    return NULL;
}

/* A file was found to have the path of a pinned slot. */
void
pcm_place_remember(uint64_t identity, pcm_slot_t *slot)
{
    if (identity == 0)
        return;
    atomic_store_explicit(&slot->identity, identity, memory_order_relaxed);
    atomic_store_explicit(&pcm_state->places[identity % PCM_NAMES],
                          pcm_entry_make(PCM_IN_SLOT, slot), memory_order_relaxed);
}

/* The path that a file was last found to have, into `out` of PCM_PATH_MAX bytes, however long ago
 * that was; 0: it is not remembered. */
size_t
pcm_place_recall(uint64_t identity, char *out)
{
    uint64_t entry =
        atomic_load_explicit(&pcm_state->places[identity % PCM_NAMES], memory_order_relaxed);
    pcm_slot_t *slot = pcm_entry_slot(entry);
    size_t size = 0;

    /* Of whatever epoch: its slot says whose it is. */
    if (identity == 0 || entry == 0 || !pcm_slot_pin(slot, pcm_entry_generation(entry)))
        return 0;
    if (atomic_load_explicit(&slot->identity, memory_order_relaxed) == identity) {
        size = slot->path_size;
        memcpy(out, slot->path, size);
    }
    pcm_slot_unpin(slot);
    return size;
}
