/* names.c - from a name to the path it stands for, and from a file to the path it had.
 *
 * A name is remembered by a tag, made of its letters and of the file that it led to, which stands
 * for a slot.  Invariants: a name that leads to the same file as it did a moment ago (PCM_NAME_NS)
 * leads to it by the same path; after that the kernel is asked again, since somebody else may have
 * renamed what lies between.  The same file means the same birth, too, since an inode's number is
 * given again at once: what is younger than the kernel's clock is exact, or has no birth, is not
 * remembered at all.  Directories are remembered like files, in slots that nothing ever happens to:
 * then the path of a name in a known directory takes no walk. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "entry.h"
#include "identity.h"
#include "names.h"
#include "report.h"
#include "slots.h"
#include "state.h"
#include "sys.h"
#include "text.h"
#include "walk.h"
#include "wire.h"

#include "rules.h"

#define TICK_NS 20000000 /* two files may share a birth within it */

/* Whether no other file can have, or will ever have, the same number and birth. */
static bool
is_unmistakable(const pcm_file_t *file, uint64_t now)
{
    return file->identity != 0 && file->birth_ns != 0 && (int64_t)(now - file->birth_ns) > TICK_NS;
}

/* The tag of a name; 0: none that could be trusted. */
static uint64_t
tag_of(const char *name, size_t size, const pcm_file_t *file, uint64_t now)
{
    return is_unmistakable(file, now) ? pcm_hash(file->identity, name, size) | 1 : 0;
}

/* The tag of a name; 0: it has none, being relative to a descriptor, for one. */
uint64_t
pcm_name_tag(int dirfd, const char *name, const pcm_file_t *file, uint64_t now)
{
    uint64_t tag;

    if (name == NULL || (name[0] != '/' && dirfd != AT_FDCWD))
        return 0;
    tag = tag_of(name, strlen(name), file, now);
    if (tag != 0 && name[0] != '/')
        tag += 2 * (uint64_t)atomic_load_explicit(&pcm_state->cwd_epoch, memory_order_relaxed);
    return tag;
}

/* The working directory changed: what relative names stand for is unknown. */
void
pcm_forget_cwd(void)
{
    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return;
    atomic_fetch_add(&pcm_state->cwd_epoch, 1);
    if (!pcm_owns_memory())
        atomic_store(&pcm_state->cwd_stranger, 1);
}

/* The path of the directory that a name of `size` bytes leads to, "" being `dirfd` itself, into
 * `out` of PCM_PATH_MAX bytes; returns the path's size, or 0 if it cannot be told. */
size_t
pcm_directory_path(int dirfd, const char *name, size_t size, char *out)
{
    pcm_file_t file;
    pcm_slot_t *slot;
    uint64_t tag, now = pcm_now();
    long walked;

    if (pcm_find_file(dirfd, name, AT_EMPTY_PATH, &file) != 0)
        return 0;
    /* A directory has one path, whatever descriptor its name is relative to. */
    tag = tag_of(name, size, &file, now);
    slot = pcm_name_recall(tag, now);
    if (slot != NULL) {
        size = slot->path_size;
        memcpy(out, slot->path, size);
        pcm_slot_unpin(slot);
        return size;
    }
    walked = pcm_walk(dirfd, name, &file, out);
    if (walked <= 0) /* in a mount that was taken away, it keeps its path */
        return size == 0 ? pcm_place_recall(file.identity, out) : 0;
    slot = pcm_slot_pin_path(out, (size_t)walked);
    if (slot != NULL) {
        pcm_name_remember(tag, slot);
        pcm_place_remember(file.identity, slot);
        pcm_slot_unpin(slot);
    }
    return (size_t)walked;
}

/* Where the last component of a name of `size` bytes begins; "." and ".." are none of their own. */
static size_t
last_component(const char *name, size_t size)
{
    size_t base = size;

    while (base > 0 && name[base - 1] != '/')
        base--;
    if (size - base <= 2 && size > base && name[base] == '.' && name[size - 1] == '.')
        return size;
    return base;
}

/* The absolute path of a name, its last component not followed, into `out` of PCM_PATH_MAX bytes.
 * Returns its size, or 0 if it cannot be told. */
size_t
pcm_name_path(int dirfd, const char *name, char *out)
{
    size_t size = strlen(name), base, parent = 0;
    char *directory;

    while (size > 1 && name[size - 1] == '/')
        size--;
    base = last_component(name, size);
    if (base >= PATH_MAX || size - base > NAME_MAX || (directory = pcm_scratch_acquire()) == NULL)
        return 0;
    memcpy(directory, name, base);
    directory[base] = '\0';
    parent = pcm_directory_path(dirfd, directory, base, out);
    pcm_scratch_release(directory);
    if (parent == 0 || parent >= PATH_MAX)
        return 0;
    if (size == base)
        return parent;
    if (parent > 1)
        out[parent++] = '/';
    memcpy(out + parent, name + base, size - base);
    return parent + size - base;
}

/* The path of what a name leads to, into `out` of PCM_PATH_MAX bytes; links are followed and
 * reported.  `file` is what it was found to lead to.  0: it cannot be told. */
size_t
pcm_target_path(int dirfd, const char *name, const pcm_file_t *file, char *out)
{
    size_t size = strlen(name);
    long walked;

    if (S_ISDIR(file->mode))
        return size < PATH_MAX ? pcm_directory_path(dirfd, name, size, out) : 0;
    if (pcm_sys_readlinkat(dirfd, name, out, 1) <= 0)
        return pcm_name_path(dirfd, name, out);
    walked = pcm_walk(dirfd, name, file, out);
    return walked > 0 ? (size_t)walked : 0;
}

/* Add an event to a path; one without a slot is reported by itself. */
void
pcm_account(const char *path, size_t size, pcm_event_t event)
{
    pcm_slot_t *slot = pcm_slot_pin_path(path, size);
    uint64_t now = (event.use & PCM_REMOVED) != 0 ? pcm_now_exact() : pcm_now();

    if (slot != NULL) {
        pcm_place_remember(event.identity, slot);
        pcm_slot_add(slot, &event, now);
        pcm_slot_unpin(slot);
        return;
    }
    pcm_record_t record = {
        .kind = PCM_KIND_ACCESS,
        .use = event.use,
        .bytes = event.bytes,
        .identity = event.identity,
        .born_ns = event.born_ns,
        .length = event.length,
        .opens = event.opens,
        .writes = event.writes,
        .changes = event.changes,
    };
    record.first_ns = record.last_ns = now;
    pcm_report(&record, path, size, NULL);
}

/* Something happened to a file by its name. */
void
pcm_on_path(int dirfd, const char *name, pcm_event_t event)
{
    size_t size = 0;

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) || name == NULL)
        return;
    if (atomic_load_explicit(&pcm_state->pid, memory_order_relaxed) == 0)
        pcm_identify();
    char *path = pcm_scratch_acquire();
    if (path != NULL)
        size = pcm_name_path(dirfd, name, path);
    if (size > 0)
        pcm_account(path, size, event);
    else
        pcm_mark_lost(PCM_LOST_PATH);
    pcm_scratch_release(path);
}

/* What is added to say of what kind a file is; a directory or a link is not read like a file. */
static uint32_t
kind_of(const pcm_file_t *file)
{
    return S_ISDIR(file->mode) ? PCM_DIRECTORY : S_ISLNK(file->mode) ? PCM_LINK : 0;
}

/* Something happened to what a name leads to, links at its end followed unless `flags` has
 * AT_SYMLINK_NOFOLLOW; with AT_EMPTY_PATH, "" is `dirfd` itself.  Nodes and pipes hold nothing. */
void
pcm_on_target(int dirfd, const char *name, int flags, pcm_event_t event)
{
    bool follow = (flags & AT_SYMLINK_NOFOLLOW) == 0;
    long size = -1;
    pcm_file_t file;

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) || name == NULL)
        return;
    if (pcm_find_file(dirfd, name, flags & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), &file) != 0 ||
        !(S_ISREG(file.mode) || kind_of(&file) != 0) || file.device == pcm_config.proc_dev)
        return;
    if (atomic_load_explicit(&pcm_state->pid, memory_order_relaxed) == 0)
        pcm_identify();
    char *path = pcm_scratch_acquire();
    if (path != NULL)
        size = follow ? pcm_walk(dirfd, name, &file, path) : (long)pcm_name_path(dirfd, name, path);
    event.use |= kind_of(&file);
    event.identity = file.identity;
    event.born_ns = file.birth_ns;
    if (size > 0)
        pcm_account(path, (size_t)size, event);
    else
        pcm_mark_lost(PCM_LOST_PATH);
    pcm_scratch_release(path);
}
