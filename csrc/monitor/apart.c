/* apart.c - opens files out of the application's sight.
 *
 * The descriptor table belongs to the application: a number that we take for a moment is one that it
 * misses, reads, closes or puts a file of its own under.  So whatever must be opened is opened where
 * nobody can look: by the process's only thread, with all signals blocked, or by a helper, a thread
 * with a table of its own that keeps none of the application's files open and that is gone when
 * `pcm_apart` returns.
 *
 * Invariant: nothing here opens, closes or duplicates a descriptor in a table that a thread of the
 * application's may look at meanwhile. */
#define _GNU_SOURCE
#include <limits.h>
#include <linux/close_range.h>
#include <sys/stat.h>

#include "apart.h"
#include "state.h"
#include "sys.h"
#include "thread.h"

#include "rules.h"

typedef struct {
    pcm_errand_t *errand;
    void *argument;
    bool done;
} order_t;

/* Whether this thread, whose signals are blocked, is the only one of its process, the flusher aside:
 * nobody else looks at its descriptors then.  A task's directory has two links more than threads.
 * The flusher counts from before its number is known until after it is forgotten. */
bool
pcm_is_alone(void)
{
    uint32_t flusher = atomic_load(&pcm_state->flusher_tid);
    bool known = flusher != 0 && flusher != UINT32_MAX && pcm_owns_memory();
    struct stat status;

    if (known && (uint32_t)pcm_sys(SYS_gettid, 0, 0, 0, 0, 0, 0) == flusher)
        return false;
    if (atomic_load(&pcm_state->split) != 0 ||
        pcm_sys_lstatat(AT_FDCWD, "/proc/self/task", &status) < 0 ||
        status.st_dev != pcm_config.proc_dev)
        return false;
    return status.st_nlink - 2 - known == 1;
}

/* The helper.  Old kernels cannot make an empty table; a copy, whose files stay open while the
 * errand lasts, must do. */
static void
carry_out(void *argument)
{
    order_t *order = argument;

    if (pcm_sys(SYS_close_range, 0, UINT_MAX, CLOSE_RANGE_UNSHARE, 0, 0, 0) < 0 &&
        pcm_sys(SYS_unshare, CLONE_FILES, 0, 0, 0, 0, 0) < 0)
        return;
    order->done = order->errand(order->argument);
}

static bool
send_helper(order_t *order)
{
    _Atomic uint32_t tid = 0;
    pcm_bare_t *memory = pcm_sys_lend(sizeof(*memory));
    long helper;

    if (memory == NULL)
        return false;
    helper = pcm_clone((PCM_CLONE_THREAD & ~(unsigned long)CLONE_CHILD_CLEARTID) | CLONE_VFORK,
                       memory, &tid, carry_out, order);
    if (helper > 0)
        pcm_wait_until_gone((uint32_t)helper);
    pcm_sys_give_back(memory, sizeof(*memory));
    return order->done;
}

/* Do what needs descriptors for a moment, and wait for it.  Where the only thread has none left, a
 * helper still has. */
bool
pcm_apart(pcm_errand_t *errand, void *argument)
{
    order_t order = {.errand = errand, .argument = argument};
    uint64_t before = pcm_signals_block();
    bool done = (pcm_is_alone() && errand(argument)) || send_helper(&order);

    pcm_signals_restore(before);
    return done;
}
