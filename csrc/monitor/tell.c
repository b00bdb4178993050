/* tell.c - what is told of a path once: that it was looked at, passed through, listed or loaded.
 *
 * `told`, by a path and its use, says that this process has reported that.  What is to be reported is
 * gathered in a sheet: names in one directory make one record, records travel together, and who adds
 * a name makes no system call.  There are some sheets, so that threads seldom meet.
 *
 * Invariants: losing an entry of `told` costs a report, no more, for such reports only ever repeat
 * themselves.  A sheet belongs to whoever made it busy; nobody waits for one without end, since its
 * owner may be what a signal handler interrupted. */
#define _GNU_SOURCE
#include <string.h>

#include "report.h"
#include "state.h"
#include "sys.h"
#include "tell.h"
#include "text.h"
#include "thread.h"
#include "wire.h"

#include "rules.h"

#define AT_ONCE 8 /* reports of a process, so that a short program needs no flusher */
#define PATIENCE 1000

static bool
take(pcm_sheet_t *sheet)
{
    return atomic_exchange_explicit(&sheet->busy, 1, memory_order_acquire) == 0;
}

static void
put_back(pcm_sheet_t *sheet)
{
    atomic_store_explicit(&sheet->busy, 0, memory_order_release);
}

static bool
take_patiently(pcm_sheet_t *sheet)
{
    for (int i = 0; i < PATIENCE; i++) {
        if (take(sheet))
            return true;
        pcm_sys(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    }
    return false;
}

/* A sheet that nobody has in hand; NULL: there is none.  Each thread, known by where its stack lies,
 * begins with another one, so that its names stay together. */
static pcm_sheet_t *
take_any(void)
{
    char here;
    uint64_t first = ((uintptr_t)&here >> 20) * 0x9e3779b97f4a7c15u >> 61;

    for (uint64_t i = 0; i < PCM_SHEETS; i++) {
        pcm_sheet_t *sheet = &pcm_state->sheets[(first + i) % PCM_SHEETS];
        if (take(sheet))
            return sheet;
    }
    return NULL;
}

_Static_assert(PCM_SHEETS == 1 << 3, "three bits say which sheet is the first");

/* Make a record of the names gathered so far. */
static void
close_group(pcm_sheet_t *sheet)
{
    pcm_record_t record = {
        .kind = PCM_KIND_TOLD,
        .use = sheet->use,
        .first_ns = sheet->first_ns,
        .last_ns = sheet->last_ns,
    };

    if (sheet->size > 0)
        pcm_report(&record, sheet->names, sheet->size, &sheet->batch);
    sheet->size = 0;
}

static void
send_sheet(pcm_sheet_t *sheet)
{
    atomic_store(&sheet->pending, 0);
    close_group(sheet);
    pcm_batch_send(&sheet->batch);
}

/* Whether a name in this directory belongs to the names gathered last. */
static bool
continues(const pcm_sheet_t *sheet, const char *directory, size_t size, uint32_t use)
{
    return sheet->size > 0 && sheet->use == use && sheet->directory_size == size &&
           memcmp(sheet->names, directory, size) == 0;
}

/* Add a path that fits; its directory's name is the first `base` bytes, with the slash. */
static void
write_down(pcm_sheet_t *sheet, const char *path, size_t base, size_t size, uint32_t use)
{
    size_t added = size - base + 1;

    sheet->last_ns = pcm_now();
    if (!continues(sheet, path, base, use) || sheet->size + added > sizeof(sheet->names)) {
        close_group(sheet);
        memcpy(sheet->names, path, base);
        sheet->size = sheet->directory_size = base;
        sheet->use = use;
        sheet->first_ns = sheet->last_ns;
    }
    sheet->names[sheet->size] = '\0';
    memcpy(sheet->names + sheet->size + 1, path + base, size - base);
    sheet->size += added;
    atomic_fetch_add(&sheet->pending, 1); /* before the flusher is asked for */
}

static bool
goes_at_once(void)
{
    return atomic_load_explicit(&pcm_exiting, memory_order_relaxed) ||
           (atomic_load_explicit(&pcm_state->told_at_once, memory_order_relaxed) < AT_ONCE &&
            atomic_fetch_add(&pcm_state->told_at_once, 1) < AT_ONCE);
}

static void
report_alone(const char *path, size_t size, uint32_t use)
{
    pcm_record_t record = {.kind = PCM_KIND_ACCESS, .use = use};

    record.first_ns = record.last_ns = pcm_now();
    pcm_report(&record, path, size, NULL);
}

/* Report that a path is used so; `more`: the caller tells more, and then flushes. */
static void
report(const char *path, size_t size, uint32_t use, bool more)
{
    size_t base = size;
    pcm_sheet_t *sheet;

    while (base > 0 && path[base - 1] != '/')
        base--;
    if (size + 1 > sizeof(sheet->names) || (sheet = take_any()) == NULL) {
        report_alone(path, size, use);
        return;
    }
    write_down(sheet, path, base, size, use);
    if (!more && goes_at_once()) {
        send_sheet(sheet);
        more = true;
    }
    put_back(sheet);
    if (more)
        return;
    pcm_flusher_want();
    if (atomic_load(&pcm_state->flusher_closing) != 0 || atomic_load(&pcm_state->flusher_tid) == 0)
        pcm_told_flush();
}

/* Report that a path is used so, unless this process did; while `told_gathered` is set, or where
 * `more` is, whoever says so flushes. */
void
pcm_tell(const char *path, size_t size, uint32_t use, bool more)
{
    uint64_t hash = pcm_hash(use * 0x94d049bb133111ebu, path, size) | 1;
    _Atomic uint64_t *entry = &pcm_state->told[hash >> 8 & (PCM_TOLD - 1)];

    if (atomic_load_explicit(entry, memory_order_relaxed) == hash)
        return;
    atomic_store_explicit(entry, hash, memory_order_relaxed);
    report(path, size, use, more || atomic_load(&pcm_state->told_gathered) != 0);
}

/* Deliver what was gathered; returns how many names that were. */
uint32_t
pcm_told_flush(void)
{
    uint32_t names = 0;

    for (pcm_sheet_t *sheet = pcm_state->sheets; sheet < pcm_state->sheets + PCM_SHEETS; sheet++) {
        if (atomic_load(&sheet->pending) == 0)
            continue;
        if (!take_patiently(sheet))
            continue;
        names += atomic_load(&sheet->pending);
        send_sheet(sheet);
        put_back(sheet);
    }
    return names;
}

/* Whether anything is gathered. */
bool
pcm_told_pending(void)
{
    for (const pcm_sheet_t *sheet = pcm_state->sheets; sheet < pcm_state->sheets + PCM_SHEETS;
         sheet++)
        if (atomic_load(&sheet->pending) != 0)
            return true;
    return false;
}
