/* clone.h - starting a bare thread. */
#ifndef PCM_CLONE_H
#define PCM_CLONE_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#define PCM_STACK_BYTES 16384

/* What a bare thread lives on. */
typedef struct {
    _Alignas(64) char stack[PCM_STACK_BYTES];
    char tls[1024];
} pcm_bare_t;

typedef void
pcm_entry_t(void *argument);

#define PCM_CLONE_THREAD                                                                           \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |            \
     CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

long
pcm_clone(unsigned long flags, pcm_bare_t *memory, _Atomic uint32_t *tid, pcm_entry_t *entry,
          void *argument);

#endif
