/* tell.c - what is told of a path once: that it was looked at, passed through, listed or loaded.
 *
 * `told`, by a path and its use, says that this process has reported that.  Invariant: losing an
 * entry costs a report, no more; such reports only ever repeat themselves. */
#define _GNU_SOURCE
#include "report.h"
#include "state.h"
#include "sys.h"
#include "tell.h"
#include "text.h"
#include "thread.h"
#include "wire.h"

#define AT_ONCE 16 /* reports; what follows travels together */
#define PATIENCE 1000

/* Deliver what waits in the batch; returns the number of records, or of batches full of them. */
uint32_t
pcm_told_flush(void)
{
    uint32_t idle = 0, waiting;

    if (atomic_load(&pcm_state->looks_pending) == 0)
        return 0;
    /* Whoever has it in hand may be what this signal handler interrupted. */
    for (int i = 0; !atomic_compare_exchange_strong(&pcm_state->looks_busy, &idle, 1); i++) {
        if (i == PATIENCE)
            return 0;
        idle = 0;
        pcm_sys(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    }
    waiting = atomic_exchange(&pcm_state->looks_pending, 0);
    pcm_batch_send(&pcm_state->looks_batch);
    atomic_store(&pcm_state->looks_busy, 0);
    return waiting;
}

/* The first ones go out at once, so that a short program needs no flusher. */
static bool
goes_at_once(void)
{
    return atomic_load_explicit(&pcm_state->looks_told, memory_order_relaxed) < AT_ONCE
               ? atomic_fetch_add(&pcm_state->looks_told, 1) < AT_ONCE
               : atomic_load_explicit(&pcm_exiting, memory_order_relaxed);
}

static void
deliver(pcm_record_t *record, const char *path, size_t size)
{
    uint32_t idle = 0;

    bool gathered = atomic_load_explicit(&pcm_state->looks_gathered, memory_order_relaxed) != 0;

    if ((!gathered && goes_at_once()) ||
        !atomic_compare_exchange_strong(&pcm_state->looks_busy, &idle, 1)) {
        pcm_report(record, path, size, NULL);
        return;
    }
    pcm_report(record, path, size, &pcm_state->looks_batch);
    atomic_fetch_add(&pcm_state->looks_pending, 1);
    atomic_store(&pcm_state->looks_busy, 0);
    if (gathered)
        return;
    pcm_flusher_want();
    if (atomic_load(&pcm_state->flusher_closing) != 0 || atomic_load(&pcm_state->flusher_tid) == 0)
        pcm_told_flush();
}

/* Report that a path is used so, unless this process did; in `batch`, if there is one. */
void
pcm_tell(const char *path, size_t size, uint32_t use, pcm_batch_t *batch)
{
    uint64_t hash = pcm_hash(use * 0x94d049bb133111ebu, path, size) | 1;
    _Atomic uint64_t *entry = &pcm_state->told[hash >> 8 & (PCM_TOLD - 1)];
    pcm_record_t record = {.kind = PCM_KIND_ACCESS, .use = use};

    if (atomic_load_explicit(entry, memory_order_relaxed) == hash)
        return;
    atomic_store_explicit(entry, hash, memory_order_relaxed);
    record.first_ns = record.last_ns = pcm_now();
    if (batch != NULL)
        pcm_report(&record, path, size, batch);
    else
        deliver(&record, path, size);
}
