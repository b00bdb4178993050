/* monitor.h - the access monitor's inner interface.
 *
 * hooks_*.c interpose libc's functions and say *what* happened (pcm_on_fd, pcm_on_path); fds.c and
 * names.c find out *to which path*; paths.c adds it up per path; report.c sends it; flusher.c sends
 * what is left when the application falls silent.
 *
 * Invariant of the whole library: behind the real call nothing fails, blocks, allocates, locks or
 * touches errno; whatever goes wrong is counted as lost and the application never learns of it. */
#ifndef PCM_MONITOR_H
#define PCM_MONITOR_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "clone.h"
#include "pipe.h"
#include "program.h"
#include "wire.h"

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
#define PCM_PARENTS 64                         /* directories of such names */
#define PCM_NAME_NS 100000000u                 /* how long a name is trusted to mean the same */

/* Records that travel together; as large as the pipe takes at once, and no larger than a scratch. */
typedef struct {
    size_t size;
    char records[PIPE_BUF];
} pcm_batch_t;

_Static_assert(sizeof(pcm_batch_t) <= PCM_PATH_MAX, "a batch fits into a scratch");

/* What is behind a name or a descriptor. */
typedef struct {
    uint64_t device, inode;
    uint64_t birth_ns; /* since the epoch; 0: the file system keeps none, or the kernel is silent */
    uint64_t modified_ns;
    uint64_t identity; /* 0: unknown */
    uint32_t mode, links;
} pcm_file_t;

/* Something that happened to a file. */
typedef struct {
    uint32_t use; /* enum pcm_use */
    uint32_t opens;
    uint32_t writes;
    uint32_t changes;
    uint64_t bytes;
    uint64_t identity; /* of the file that it happened to, from identity.c; 0: not asked for */
} pcm_event_t;

/* What happened to one path since its last report.  `state` is generation << 16 | pins: a pinned
 * slot keeps its path, an unpinned one may be given to another path under a new generation. */
typedef struct {
    _Atomic uint64_t state;
    _Atomic uint64_t tally; /* generation << 42 | writes << 30 | bytes: what plain writes add to */
    _Atomic uint64_t first_ns, last_ns; /* of what is pending; 0: nothing is */
    _Atomic uint64_t reported_ns;
    _Atomic uint64_t bytes;
    _Atomic uint64_t identity; /* of the last file that was found to have this path; 0: unknown */
    _Atomic uint32_t use, opens, writes, changes;
    _Atomic uint32_t reported_use; /* what was reported of its use so far */
    uint32_t path_size;
    _Atomic uint64_t hash;
    _Atomic uint64_t named_ns; /* when something was last found to have this path */
    _Atomic uint64_t name_tag; /* of a name and an inode that lead to this path */
    char path[PCM_PATH_INLINE];
} pcm_slot_t;

/* The path of a directory by the letters of its name. */
typedef struct {
    _Atomic uint32_t busy; /* 1: somebody reads or writes the rest */
    uint32_t size;
    uint64_t tag, found_ns;
    char path[PCM_PATH_INLINE];
} pcm_parent_t;

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
    _Atomic uint32_t looks_told;       /* reports that went out at once */
    _Atomic uint32_t looks_busy;       /* 1: somebody has the batch in hand */
    _Atomic uint32_t looks_gathered;   /* 1: more is coming at once, nothing is sent yet */
    _Atomic uint32_t cwd_stranger;     /* 1: a vfork child may have changed its own directory */
    _Atomic uint32_t looks_pending;    /* 1: there is something in it */
    pcm_batch_t looks_batch;
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

/* How an environment is to be changed for a program that is started. */
#define PCM_PIPE_TEXT 96 /* "PRECOPY_PIPE=" and three numbers */
typedef struct {
    size_t bytes;             /* that the changed one needs */
    bool follow;              /* put the library in, rather than out */
    char pipe[PCM_PIPE_TEXT]; /* the variable that says which descriptor is the pipe; "": none */
} pcm_injection_t;

/* Why a report could not be made. */
typedef enum {
    PCM_LOST_SPILL,
    PCM_LOST_PATH,
    PCM_LOST_SANDBOX,
    PCM_LOST_MEMORY,
    PCM_LOST_RING,
    PCM_LOST_PROGRAM,
} pcm_loss_t;

#define PCM_EXPORT __attribute__((visibility("default")))

/* Another name that libc exports for a function; what it declares of it is kept. */
#define PCM_ALIAS(name, of)                                                                        \
    PCM_EXPORT extern __typeof__(of) name __attribute__((alias(#of), copy(of)));

/* state.c */
void
pcm_deactivate(void);
void
pcm_reactivate(void);
void
pcm_identify(void);
bool
pcm_owns_memory(void);
void
pcm_split_fds(void);
uint64_t
pcm_now(void);
char *
pcm_scratch_acquire(void);
void
pcm_scratch_release(char *scratch);

/* environment.c */
void
pcm_environment_read(char *const envp[], pcm_inherited_t *inherited);
void
pcm_environment_describe_root(void);
bool
pcm_environment_plan(char *const envp[], pcm_program_t program, pcm_injection_t *plan);
char **
pcm_environment_apply(char *const envp[], const pcm_injection_t *plan, void *memory);
char *
pcm_environment_command(const char *command, size_t *size);
char *
pcm_format_two(char *out, uint64_t a, char separator, uint64_t b);

/* identity.c */
int
pcm_find_file(int dirfd, const char *name, int flags, pcm_file_t *file);
uint64_t
pcm_identify_name(int dirfd, const char *name);

/* readable.c */
bool
pcm_text_is_readable(const char *text);
bool
pcm_list_is_readable(char *const list[]);
bool
pcm_copy_in(void *to, const void *from, size_t size);

/* walk.c */
long
pcm_walk(int dirfd, const char *name, const pcm_file_t *file, char *out);
bool
pcm_path_leads_to(char *path, size_t size, const pcm_file_t *file);
long
pcm_fd_path(int fd, char *out);

/* fds.c */
void
pcm_on_fd(int fd, pcm_event_t event);
void
pcm_on_open(int fd, int flags, int dirfd, const char *name);
void
pcm_forget_fd(int fd);
void
pcm_forget_all_fds(void);

/* names.c */
void
pcm_on_path(int dirfd, const char *name, pcm_event_t event);
size_t
pcm_name_path(int dirfd, const char *name, char *out);
size_t
pcm_directory_path(int dirfd, const char *name, size_t size, char *out);
uint64_t
pcm_name_tag(int dirfd, const char *name, const pcm_file_t *file, uint64_t now);
pcm_slot_t *
pcm_name_recall(uint64_t tag, uint64_t now);
void
pcm_name_remember(uint64_t tag, pcm_slot_t *slot);
void
pcm_place_remember(uint64_t identity, pcm_slot_t *slot);
size_t
pcm_place_recall(uint64_t identity, char *out);
void
pcm_forget_cwd(void);
void
pcm_on_target(int dirfd, const char *name, int flags, pcm_event_t event);

/* paths.c */
void
pcm_account(const char *path, size_t size, pcm_event_t event);
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
uint64_t
pcm_hash(uint64_t hash, const char *text, size_t size);
uint32_t
pcm_flush_all(void);
bool
pcm_is_pending(void);

/* looks.c */
void
pcm_on_look(int dirfd, const char *name, bool follow, const pcm_file_t *file);
void
pcm_on_listed(int dirfd, const char *name);
void
pcm_tell(const char *path, size_t size, uint32_t use, pcm_batch_t *batch);
size_t
pcm_target_path(int dirfd, const char *name, const pcm_file_t *file, char *out);
uint32_t
pcm_looks_flush(void);

/* loaded.c */
void
pcm_report_start(char *const argv[], char *const envp[]);
void
pcm_report_loaded(void);

/* report.c */
bool
pcm_report(pcm_record_t *record, const char *path, size_t size, pcm_batch_t *batch);
void
pcm_batch_send(pcm_batch_t *batch);
void
pcm_mark_lost(pcm_loss_t loss);
bool
pcm_refuse_foreign(void);

/* flusher.c */
void
pcm_flusher_want(void);
void
pcm_flusher_hold(void);
void
pcm_flusher_release(void);

/* hooks_*.c, for each other */
int
pcm_changed_directory(int failed, int dirfd, const char *name);
void
pcm_on_attributes(int fd);
bool
pcm_on_attribute_call(long number, const long a[6]);
void
pcm_on_ioctl(int fd, unsigned long request);
void
pcm_on_received(int fd);
long
pcm_submit(const long a[6]);
void
pcm_on_ring(void);
void
pcm_on_message(const struct msghdr *message);
void
pcm_on_inherited(void);
void
pcm_on_mmap(int fd, int protection, int flags);
int
pcm_on_rename2(int failed, int old_dirfd, const char *old, int new_dirfd, const char *new,
               unsigned flags);
void
pcm_before_rights(long number, const long arguments[6]);
void
pcm_after_rights(long number, long result);
bool
pcm_semaphore_path(const char *name, char *out);
void
pcm_stream_ending(const FILE *stream);
void
pcm_streams_ending(void);

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

/* A stream's descriptor, or -1: a stream into memory has none, and rubbish where it would be. */
static inline int
pcm_stream_fd(const FILE *stream)
{
    return (stream->_flags & 0x2000 /* _IO_IS_FILEBUF */) != 0 ? stream->_fileno : -1;
}

/* Bytes that wait in a stream's buffer.  Another thread may be in the middle of changing it. */
static inline size_t
pcm_stream_buffered(const FILE *stream)
{
    const char *from = stream->_IO_write_base, *to = stream->_IO_write_ptr;

    return from != NULL && from <= to && to - from <= stream->_IO_buf_end - stream->_IO_buf_base
               ? (size_t)(to - from)
               : 0;
}

static inline void
pcm_wrote(int fd, long bytes)
{
    if (bytes > 0)
        pcm_on_fd(fd, (pcm_event_t){.use = PCM_WRITE, .writes = 1, .bytes = (uint64_t)bytes});
}

static inline void
pcm_changed(int fd)
{
    pcm_on_fd(fd, (pcm_event_t){.use = PCM_WRITE, .changes = 1});
}

#endif
