/* thread.h - threads of our own, and the one that reports when the application falls silent. */
#ifndef PCM_THREAD_H
#define PCM_THREAD_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "state.h"

typedef void
pcm_entry_t(void *argument);

#define PCM_CLONE_THREAD                                                                           \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |            \
     CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

/* What the flusher does is known above, and registered at the start: report everything that is
 * pending, which returns how many reports that took; and say whether anything is. */
typedef struct {
    uint32_t (*flush)(void);
    bool (*is_pending)(void);
} pcm_flush_t;

long
pcm_clone(unsigned long flags, pcm_bare_t *memory, _Atomic uint32_t *tid, pcm_entry_t *entry,
          void *argument);

/* The signals that were blocked before, to be set again. */
uint64_t
pcm_signals_block(void);
void
pcm_signals_restore(uint64_t before);
void
pcm_wait_until_gone(uint32_t tid);

void
pcm_flusher_begin(pcm_flush_t flush);
void
pcm_flusher_want(void);
void
pcm_flusher_hold(void);
void
pcm_flusher_release(void);

#endif
