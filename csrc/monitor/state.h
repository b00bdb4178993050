/* state.h - all that the monitor remembers, and how it is laid out.
 *
 * Invariant of the whole library: behind the real call nothing fails, blocks, allocates, locks or
 * touches errno; whatever goes wrong is counted as lost and the application never learns of it.
 *
 * Every field of the state has one file that writes it; others read it at most. */
#ifndef PCM_STATE_H
#define PCM_STATE_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PCM_FDS 65536                          /* descriptors above are resolved at every use */
#define PCM_NAMES 4096                         /* names whose slots are remembered */
#define PCM_SLOTS 4096                         /* paths whose counts are kept */
#define PCM_WAYS 8                             /* slots that one path may occupy */
#define PCM_PATH_INLINE 400                    /* longer paths are reported at every use */
#define PCM_SCRATCHES 8                        /* buffers kept off the application's stack */
#define PCM_PATH_MAX (PATH_MAX + NAME_MAX + 1) /* a name in the deepest directory of known path */
#define PCM_ROOT_MAX 512                       /* a path that a chroot may have */
#define PCM_SEMAPHORE_PATH (NAME_MAX + 16)     /* "/dev/shm/sem.NAME" */
#define PCM_LOOKS 4096                         /* names that were looked at a moment ago */
#define PCM_TOLD 8192                          /* paths of which a look was reported */
#define PCM_SHEETS 8                           /* sheets of what is to be told */
#define PCM_SHEET_NAMES 1792   /* bytes in one group of names: two fit into a batch */
#define PCM_PARENTS 128        /* directories of such names */
#define PCM_NAME_NS 100000000u /* how long a name is trusted to mean the same */

/* Records that travel together; as large as the pipe takes at once, and no larger than a scratch. */
typedef struct {
    size_t size;
    char records[PIPE_BUF];
} pcm_batch_t;

_Static_assert(sizeof(pcm_batch_t) <= PCM_PATH_MAX, "a batch fits into a scratch");

/* What happened to one path since its last report.  `state` is generation << 16 | pins: a pinned
 * slot keeps its path, an unpinned one may be given to another path under a new generation. */
typedef struct {
    _Atomic uint64_t state;
    _Atomic uint64_t tally; /* generation << 42 | writes << 30 | bytes: what plain writes add to */
    _Atomic uint64_t first_ns, last_ns; /* of what is pending; 0: nothing is */
    _Atomic uint64_t reported_ns;
    _Atomic uint64_t bytes;
    _Atomic uint64_t identity; /* of the last file that was found to have this path; 0: unknown */
    _Atomic uint64_t born_ns;  /* when that one was made; 0: unknown */
    _Atomic uint64_t length;   /* its size plus one at the first open that is pending; 0: none is */
    _Atomic uint32_t use, opens, writes, changes;
    _Atomic uint32_t reported_use; /* what was reported of its use so far */
    uint32_t path_size;
    _Atomic uint64_t hash;
    _Atomic uint64_t named_ns; /* when something was last found to have this path */
    _Atomic uint64_t name_tag; /* of a name and an inode that lead to this path */
    char path[PCM_PATH_INLINE];
} pcm_slot_t;

/* Paths that are to be told of, all used the same way.  `names` is as in a PCM_KIND_TOLD record. */
typedef struct {
    _Atomic uint32_t busy;    /* 1: somebody has it in hand */
    _Atomic uint32_t pending; /* names in it */
    uint32_t use;
    size_t directory_size, size; /* of what `names` holds */
    uint64_t first_ns, last_ns;
    char names[PCM_SHEET_NAMES];
    pcm_batch_t batch; /* earlier groups of names */
} pcm_sheet_t;

/* The path of a directory by the letters of its name. */
typedef struct {
    _Atomic uint32_t busy; /* 1: somebody reads or writes the rest */
    uint32_t size;
    uint64_t tag, found_ns;
    char path[PCM_PATH_INLINE];
} pcm_parent_t;

#define PCM_STACK_BYTES 16384

/* What a bare thread lives on. */
typedef struct {
    _Alignas(64) char stack[PCM_STACK_BYTES];
    char tls[1024];
} pcm_bare_t;

/* All that belongs to one process.  The pages are wiped by the kernel in a fork child, however it
 * was forked: the child starts with no counts and with descriptors still to be resolved. */
typedef struct {
    _Atomic uint32_t pid; /* 0: not yet known */
    _Atomic uint32_t lost;
    _Atomic uint64_t start_time;
    _Atomic uint32_t epoch;     /* entries of older epochs are to be resolved again */
    _Atomic uint32_t cwd_epoch; /* relative names of older epochs meant something else */
    _Atomic uint32_t scratches;
    _Atomic uint32_t split; /* 1: threads may have descriptors of their own */
    _Atomic uint32_t flusher_tid, flusher_holds, flusher_closing;
    _Atomic uint64_t flusher_retry_ns;
    _Atomic uint32_t pipe_users[2]; /* threads that write into the pipe just now, by turn */
    _Atomic uint32_t pipe_turn;     /* how often the pipe's number changed */
    _Atomic uint32_t pipe_moving;   /* 1: somebody is changing it */
    _Atomic uint32_t pipe_leaving;  /* the number that is being given up, plus one; 0: none is */
    _Atomic uint64_t reopening_ns;  /* when the pipe was last looked for in vain; 0: it was not */
    _Atomic uint64_t dirty[PCM_SLOTS / 64]; /* slots with pending counts */
    char scratch[PCM_SCRATCHES][PCM_PATH_MAX];
    pcm_bare_t flusher;
    _Alignas(64) pcm_slot_t slots[PCM_SLOTS];
    _Atomic uint64_t names[PCM_NAMES];  /* slots by name_tag */
    _Atomic uint64_t places[PCM_NAMES]; /* slots by identity */
    _Atomic uint64_t fds[PCM_FDS];
    _Atomic uint64_t looks[PCM_LOOKS]; /* what looks.c knows of names ... */
    _Atomic uint64_t told[PCM_TOLD];   /* ... and of paths */
    _Atomic uint32_t told_at_once;     /* reports that went out at once */
    _Atomic uint32_t told_gathered;    /* 1: more is coming at once, nothing is sent yet */
    _Atomic uint32_t cwd_stranger;     /* 1: a vfork child may have changed its own directory */
    pcm_sheet_t sheets[PCM_SHEETS];
    pcm_parent_t parents[PCM_PARENTS];
    _Atomic uint32_t loads_pending; /* 1: libraries may have been loaded that are not reported */
} pcm_state_t;

/* What stays the same from the library's loading on. */
typedef struct {
    uint64_t interval_ns;
    uint64_t proc_dev; /* of /proc, whose files are no files */
    size_t app_size, directory_size, root_size;
    char app[256];
    char directory[PATH_MAX - 64]; /* room for a file name behind it */
    char root[PCM_ROOT_MAX];       /* that the application chose by chroot; "": that of all */
} pcm_config_t;

extern pcm_state_t *pcm_state;     /* there, once pcm_active was true */
extern _Atomic bool pcm_active;    /* false: every hook passes through */
extern _Atomic bool pcm_sandboxed; /* the application forbade itself system calls */
extern pcm_config_t pcm_config;
extern _Atomic bool pcm_exiting;

bool
pcm_state_begin(void);
bool
pcm_owns_memory(void);
uint64_t
pcm_now(void);
uint64_t
pcm_now_exact(void);
char *
pcm_scratch_acquire(void);
void
pcm_scratch_release(char *scratch);

#endif
