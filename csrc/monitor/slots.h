/* slots.h - counts per path, without locks. */
#ifndef PCM_SLOTS_H
#define PCM_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "state.h"

/* Something that happened to a file. */
typedef struct {
    uint32_t use; /* enum pcm_use */
    uint32_t opens;
    uint32_t writes;
    uint32_t changes;
    uint64_t bytes;
    uint64_t identity; /* of the file that it happened to, from identity.c; 0: not asked for */
    uint64_t born_ns;  /* when that file was made; 0: unknown */
    uint64_t length;   /* its size plus one, when it was opened; 0: unknown */
} pcm_event_t;

pcm_slot_t *
pcm_slot_pin_path(const char *path, size_t size);
bool
pcm_slot_pin(pcm_slot_t *slot, uint32_t generation);
void
pcm_slot_unpin(pcm_slot_t *slot);
void
pcm_slot_add(pcm_slot_t *slot, const pcm_event_t *event, uint64_t now);
bool
pcm_slot_add_write(pcm_slot_t *slot, uint32_t generation, uint64_t bytes, uint64_t now);
void
pcm_slot_report(const char *path, size_t size);
uint32_t
pcm_slots_flush(void);
bool
pcm_slots_pending(void);

static inline uint32_t
pcm_slot_generation(uint64_t state)
{
    return (uint32_t)(state >> 16);
}

/* Whether the kernel was asked for a slot's path, or for that of its directory, a moment ago. */
static inline bool
pcm_slot_is_named(const pcm_slot_t *slot, uint64_t now)
{
    return now - atomic_load_explicit(&slot->named_ns, memory_order_relaxed) < PCM_NAME_NS;
}

#endif
