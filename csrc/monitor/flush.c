/* flush.c - everything that is pending, wherever it is kept. */
#define _GNU_SOURCE
#include "flush.h"
#include "slots.h"
#include "state.h"
#include "tell.h"
#include "thread.h"

#include "rules.h"

/* Report everything that is pending; returns how many reports that took. */
uint32_t
pcm_flush_all(void)
{
    return pcm_slots_flush() + pcm_told_flush();
}

static bool
is_pending(void)
{
    return pcm_slots_pending() || pcm_told_pending();
}

void
pcm_flush_begin(void)
{
    pcm_flusher_begin((pcm_flush_t){.flush = pcm_flush_all, .is_pending = is_pending});
}
