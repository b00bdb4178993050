/* looks.c - what an application looks at by name only: it needs that as well.
 *
 * Two memories keep this cheap.  `looks`, by a name and the inode that it led to, says that the name
 * was looked at a moment ago (PCM_NAME_NS): then nothing is done.  `told`, by a path and its use, says
 * that this process has reported that: then the path is only found out again, since somebody may
 * have renamed what lies between.  Invariant: losing an entry of either costs a report, no more;
 * reports of looks only ever repeat themselves. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "identity.h"
#include "loaded.h"
#include "looks.h"
#include "names.h"
#include "report.h"
#include "state.h"
#include "sys.h"
#include "tell.h"
#include "text.h"
#include "wire.h"

#include "rules.h"

#define AGE_BITS 24
#define AGE_SHIFT 25 /* a unit of age: 33.6 ms */
#define MOST_AGE (PCM_NAME_NS >> AGE_SHIFT)

enum { NAMED, FOLLOWED, LISTED }; /* how a name was looked at */

static uint64_t
tag_of(int dirfd, const char *name, int how, const pcm_file_t *file)
{
    uint64_t seed = (uint64_t)how * 0x9e3779b97f4a7c15u;

    if (name[0] != '/' && dirfd != AT_FDCWD)
        return 0;
    if (file != NULL)
        seed ^= file->inode * 0xbf58476d1ce4e5b9u + file->device + 1;
    if (name[0] != '/')
        seed += 2 * (uint64_t)atomic_load_explicit(&pcm_state->cwd_epoch, memory_order_relaxed);
    return pcm_hash(seed, name, strlen(name)) | 1;
}

static bool
is_fresh(uint64_t tag, uint64_t now)
{
    uint64_t entry = atomic_load_explicit(&pcm_state->looks[tag % PCM_LOOKS], memory_order_relaxed);

    return (entry ^ tag) >> AGE_BITS == 0 &&
           (((now >> AGE_SHIFT) - entry) & ((1u << AGE_BITS) - 1)) <= MOST_AGE;
}

/* A vfork child has its parent's memory, but may have a working directory of its own. */
static bool
may_remember(void)
{
    if (atomic_load_explicit(&pcm_state->cwd_stranger, memory_order_relaxed) == 0)
        return true;
    if (!pcm_owns_memory())
        return false;
    atomic_store_explicit(&pcm_state->cwd_stranger, 0, memory_order_relaxed);
    return true;
}

static void
keep_fresh(uint64_t tag, uint64_t now)
{
    uint64_t age = now >> AGE_SHIFT & ((1u << AGE_BITS) - 1);

    if (tag != 0 && may_remember())
        atomic_store_explicit(&pcm_state->looks[tag % PCM_LOOKS],
                              (tag >> AGE_BITS << AGE_BITS) | age, memory_order_relaxed);
}

static uint64_t
parent_tag(const char *name, size_t size)
{
    uint64_t epoch = atomic_load_explicit(&pcm_state->cwd_epoch, memory_order_relaxed);

    return pcm_hash(name[0] == '/' ? 1 : 2 * epoch + 2, name, size);
}

/* Lay hold of an entry; it may be in use, perhaps by what a signal handler interrupted. */
static bool
parent_acquire(pcm_parent_t *parent)
{
    return atomic_exchange_explicit(&parent->busy, 1, memory_order_acquire) == 0;
}

static void
parent_release(pcm_parent_t *parent)
{
    atomic_store_explicit(&parent->busy, 0, memory_order_release);
}

/* One of the two entries that may be a directory's. */
static pcm_parent_t *
parent_of(uint64_t tag, uint64_t way)
{
    return &pcm_state->parents[(tag ^ way) % PCM_PARENTS];
}

/* The path, with a slash at its end, of a directory whose name, of `size` bytes and with a slash at
 * its end, was looked up a moment ago; 0: it was not. */
static size_t
parent_recall(const char *name, size_t size, uint64_t now, char *out)
{
    uint64_t tag = parent_tag(name, size);
    size_t found = 0;

    for (uint64_t way = 0; way < 2 && found == 0; way++) {
        pcm_parent_t *parent = parent_of(tag, way);
        if (!parent_acquire(parent))
            continue;
        if (parent->tag == tag && now - parent->found_ns < PCM_NAME_NS) {
            found = parent->size;
            memcpy(out, parent->path, found);
        }
        parent_release(parent);
    }
    return found;
}

static void
parent_remember(const char *name, size_t size, uint64_t now, const char *path, size_t path_size)
{
    uint64_t tag = parent_tag(name, size);
    pcm_parent_t *parent = parent_of(tag, 0), *other = parent_of(tag, 1);

    /* Of what is read without laying hold of it only the cost depends. */
    if (parent->tag != tag && (other->tag == tag || other->found_ns < parent->found_ns))
        parent = other;
    if (path_size > PCM_PATH_INLINE || !may_remember() || !parent_acquire(parent))
        return;
    parent->tag = tag;
    parent->found_ns = now;
    parent->size = (uint32_t)path_size;
    memcpy(parent->path, path, path_size);
    parent_release(parent);
}

/* As pcm_name_path, for a name that ends in one of its own, in a directory that was asked for a moment
 * ago if it can be: many names in one directory then cost no system call. */
static size_t
near_path(int dirfd, const char *name, uint64_t now, char *out)
{
    size_t size = strlen(name), base = size, parent;

    while (base > 0 && name[base - 1] != '/')
        base--;
    if ((name[0] != '/' && dirfd != AT_FDCWD) || size - base > NAME_MAX)
        return pcm_name_path(dirfd, name, out);
    parent = parent_recall(name, base, now, out);
    if (parent > 0) {
        memcpy(out + parent, name + base, size - base);
        return parent + size - base;
    }
    parent = pcm_name_path(dirfd, name, out);
    if (parent > size - base)
        parent_remember(name, base, now, out, parent - (size - base));
    return parent;
}

/* Whether a name ends in one of its own: not in a slash, "." or "..". */
static bool
ends_in_a_name(const char *name)
{
    size_t size = strlen(name);

    return size > 0 && name[size - 1] != '/' &&
           !(name[size - 1] == '.' &&
             (size == 1 || name[size - 2] == '/' ||
              (name[size - 2] == '.' && (size == 2 || name[size - 3] == '/'))));
}

/* A directory was found at a path, of `size` bytes in a buffer of PCM_PATH_MAX: what lies in it need
 * not ask for it.  `name` is no link. */
static void
remember_as_parent(int dirfd, const char *name, uint64_t now, char *path, size_t size)
{
    size_t length = strlen(name);
    char *named;

    if ((name[0] != '/' && dirfd != AT_FDCWD) || size < 2 || size >= PCM_PATH_INLINE ||
        length >= PATH_MAX || (named = pcm_scratch_acquire()) == NULL)
        return;
    memcpy(named, name, length);
    named[length] = path[size] = '/';
    parent_remember(named, length + 1, now, path, size + 1);
    pcm_scratch_release(named);
}

/* The path of what was looked at, or 0.  What is no link lies where its name says. */
static size_t
looked_path(int dirfd, const char *name, bool follow, const pcm_file_t *file, uint64_t now,
            char *path)
{
    size_t size;

    if ((S_ISDIR(file->mode) && !ends_in_a_name(name)) ||
        (follow && pcm_sys_readlinkat(dirfd, name, path, 1) > 0))
        return pcm_target_path(dirfd, name, file, path);
    size = near_path(dirfd, name, now, path);
    if (S_ISDIR(file->mode))
        remember_as_parent(dirfd, name, now, path, size);
    return size;
}

static void
look(int dirfd, const char *name, bool follow, const pcm_file_t *file, uint64_t now, char *path)
{
    uint32_t use = S_ISDIR(file->mode) ? PCM_DIRECTORY : S_ISLNK(file->mode) ? PCM_LINK : 0;
    size_t size = looked_path(dirfd, name, follow, file, now, path);

    if (size > 0 && (use != 0 || S_ISREG(file->mode)))
        pcm_tell(path, size, PCM_LOOKED | use, false);
}

static bool
is_identified(void)
{
    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return false;
    if (atomic_load_explicit(&pcm_state->pid, memory_order_relaxed) == 0)
        pcm_identify();
    return true;
}

/* A name was looked at, successfully; `file` is what the call said of it, if it did. */
void
pcm_on_look(int dirfd, const char *name, bool follow, const pcm_file_t *file)
{
    pcm_file_t found;
    uint64_t tag, now;
    char *path;

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) || name == NULL || *name == '\0')
        return;
    now = pcm_now();
    tag = tag_of(dirfd, name, follow ? FOLLOWED : NAMED, file);
    if ((tag != 0 && is_fresh(tag, now)) || !is_identified())
        return;
    if (file == NULL && pcm_find_file(dirfd, name, follow ? 0 : AT_SYMLINK_NOFOLLOW, &found) != 0)
        return;
    if (file == NULL)
        file = &found;
    if (file->device == pcm_config.proc_dev)
        return;
    if (atomic_load_explicit(&pcm_state->loads_pending, memory_order_relaxed) != 0)
        pcm_report_loaded();
    path = pcm_scratch_acquire();
    if (path != NULL)
        look(dirfd, name, follow, file, now, path);
    else
        pcm_mark_lost(PCM_LOST_PATH);
    pcm_scratch_release(path);
    keep_fresh(tag, now);
}

/* The path of a directory that is listed, if it was looked at a moment ago; 0: it was not. */
static size_t
listed_path(int dirfd, const char *name, uint64_t now, char *path)
{
    size_t length = strlen(name), size;

    if (length == 0 || length >= PATH_MAX || (name[0] != '/' && dirfd != AT_FDCWD))
        return 0;
    memcpy(path, name, length);
    if (path[length - 1] != '/')
        path[length++] = '/';
    size = parent_recall(path, length, now, path);
    return size > 1 ? size - 1 : size;
}

/* A directory's entries are read; "" is `dirfd` itself. */
void
pcm_on_listed(int dirfd, const char *name)
{
    pcm_file_t file;
    uint64_t tag, now;
    size_t size = 0;
    char *path;

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) || name == NULL)
        return;
    now = pcm_now();
    tag = *name == '\0' ? 0 : tag_of(dirfd, name, LISTED, NULL);
    if ((tag != 0 && is_fresh(tag, now)) || !is_identified())
        return;
    path = pcm_scratch_acquire();
    if (path != NULL)
        size = listed_path(dirfd, name, now, path);
    if (path != NULL && size == 0 && pcm_find_file(dirfd, name, AT_EMPTY_PATH, &file) == 0 &&
        S_ISDIR(file.mode) && file.device != pcm_config.proc_dev)
        size = pcm_target_path(dirfd, name, &file, path);
    if (size > 0)
        pcm_tell(path, size, PCM_READ | PCM_LISTED | PCM_DIRECTORY, false);
    pcm_scratch_release(path);
    keep_fresh(tag, now);
}
