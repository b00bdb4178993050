/* names.c - from a name to the path it stands for.
 *
 * A name is remembered by a tag, made of its letters and of the inode that it led to, which stands
 * for a slot.  Invariant: a name that leads to the same inode as it did a moment ago (PCM_NAME_NS)
 * leads to it by the same path; after that the kernel is asked again, since somebody else may have
 * renamed what lies between.  Directories are remembered like files, in slots that nothing ever
 * happens to: then the path of a name in a known directory takes no walk through /proc. */
#define _GNU_SOURCE
#include <string.h>

#include "entry.h"
#include "monitor.h"
#include "sys.h"

static uint64_t
tag_of(const char *name, size_t size, const struct stat *status)
{
    return pcm_hash(status->st_ino * 0x9e3779b97f4a7c15u + status->st_dev, name, size) | 1;
}

/* The tag of a name; 0: it has none, being relative to a descriptor. */
uint64_t
pcm_name_tag(int dirfd, const char *name, const struct stat *status)
{
    uint64_t tag;

    if (name == NULL || (name[0] != '/' && dirfd != AT_FDCWD))
        return 0;
    tag = tag_of(name, strlen(name), status);
    if (name[0] != '/')
        tag += 2 * (uint64_t)atomic_load_explicit(&pcm_state->cwd_epoch, memory_order_relaxed);
    return tag;
}

void
pcm_name_remember(uint64_t tag, pcm_slot_t *slot)
{
    atomic_store_explicit(&slot->name_tag, tag, memory_order_relaxed);
    atomic_store_explicit(&pcm_state->names[tag % PCM_NAMES], pcm_entry_make(PCM_IN_SLOT, slot),
                          memory_order_relaxed);
}

/* The slot that a tag stands for, pinned; NULL: it is not remembered, or was for too long. */
pcm_slot_t *
pcm_name_recall(uint64_t tag, uint64_t now)
{
    uint64_t entry = atomic_load_explicit(&pcm_state->names[tag % PCM_NAMES], memory_order_relaxed);
    pcm_slot_t *slot = pcm_entry_slot(entry);

    if (tag == 0 || pcm_entry_kind(entry) != PCM_IN_SLOT || !pcm_slot_is_named(slot, now) ||
        !pcm_slot_pin(slot, pcm_entry_generation(entry)))
        return NULL;
    if (atomic_load_explicit(&slot->name_tag, memory_order_relaxed) == tag)
        return slot;
    pcm_slot_unpin(slot);
    return NULL;
}

/* The working directory changed: what relative names stand for is unknown. */
void
pcm_forget_cwd(void)
{
    if (atomic_load_explicit(&pcm_active, memory_order_relaxed))
        atomic_fetch_add(&pcm_state->cwd_epoch, 1);
}

/* Read a link in /proc, into `out` of PCM_PATH_MAX bytes.  What it says begins at the root that the
 * application chose; where that lies is put before it.  Returns the size; 0: what it leads to has no
 * path, such as a namespace; or -1: the path cannot be told. */
long
pcm_read_path(const char *link, char *out)
{
    size_t root = pcm_config.root_size;
    long size = pcm_sys_readlink(link, out + root, PCM_PATH_MAX - root);

    if (size > 0 && out[root] != '/' && out[root] != '(') /* "(unreachable)" */
        return 0;
    if (size <= 0 || out[root] != '/')
        return -1;
    memcpy(out, pcm_config.root, root);
    return root > 0 && size == 1 ? (long)root : (long)root + size;
}

/* Ask the kernel for the path of the directory whose name is in `out`, and put it there; -1, with
 * the name still there: it does not tell. */
static long
ask_for_directory(int dirfd, char *out)
{
    long size;
    int fd;

    if (out[0] == '\0' && dirfd == AT_FDCWD)
        return pcm_read_path("/proc/thread-self/cwd", out);
    if (out[0] == '\0')
        return pcm_fd_path(dirfd, out);
    fd = pcm_sys_openat(dirfd, out, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    size = pcm_fd_path(fd, out);
    pcm_sys_close(fd);
    return size;
}

/* Where there is no /proc, as in many a root of a service's own: a directory's path as its name
 * spells it, from the root or from the working directory on.  Returns the size, or -1. */
static long
spell_directory(int dirfd, const char *name, size_t size, char *out)
{
    size_t at = pcm_config.root_size;
    long cwd;

    memcpy(out, pcm_config.root, at);
    while (size > 0 && name[size - 1] == '/')
        size--;
    if (name[0] != '/') {
        cwd = dirfd != AT_FDCWD ? -1 : pcm_sys(SYS_getcwd, (long)(out + at), PATH_MAX, 0, 0, 0, 0);
        if (cwd < 2 || out[at] != '/') /* the size is that with the '\0' */
            return -1;
        at += cwd == 2 ? 0 : (size_t)cwd - 1;
        if (size > 0)
            out[at++] = '/';
    }
    if (at + size >= PATH_MAX)
        return -1;
    memcpy(out + at, name, size);
    if (at + size == 0)
        out[size++] = '/';
    return (long)(at + size);
}

static long
directory_without_proc(int dirfd, char *out, size_t size)
{
    char *name = pcm_scratch_acquire();
    long spelled = -1;

    if (name != NULL) {
        memcpy(name, out, size + 1);
        spelled = spell_directory(dirfd, name, size, out);
    }
    pcm_scratch_release(name);
    return spelled;
}

/* Replace the directory's name in `out`, of `size` bytes and "" for `dirfd` itself, by its path;
 * returns the path's size, or 0 if it cannot be told. */
static size_t
directory_path(int dirfd, char *out, size_t size)
{
    struct stat status;
    pcm_slot_t *slot;
    uint64_t tag;
    long asked;

    if (pcm_sys_stat_directory(dirfd, out, &status) < 0)
        return 0;
    /* A directory has one path, whatever descriptor its name is relative to. */
    tag = tag_of(out, size, &status);
    slot = pcm_name_recall(tag, pcm_now());
    if (slot != NULL) {
        size = slot->path_size;
        memcpy(out, slot->path, size);
        pcm_slot_unpin(slot);
        return size;
    }
    asked = ask_for_directory(dirfd, out);
    if (asked < 0)
        asked = directory_without_proc(dirfd, out, size);
    if (asked <= 0)
        return 0;
    slot = pcm_slot_pin_path(out, (size_t)asked);
    if (slot != NULL) {
        pcm_name_remember(tag, slot);
        pcm_slot_unpin(slot);
    }
    return (size_t)asked;
}

/* The absolute path of a name, its last component not followed, into `out` of PCM_PATH_MAX bytes.
 * Returns its size, or 0 if it cannot be told. */
size_t
pcm_name_path(int dirfd, const char *name, char *out)
{
    size_t size = strlen(name), base, parent;

    while (size > 1 && name[size - 1] == '/')
        size--;
    for (base = size; base > 0 && name[base - 1] != '/';)
        base--;
    if (base >= PATH_MAX || size - base > NAME_MAX)
        return 0;
    memcpy(out, name, base);
    out[base] = '\0';
    parent = directory_path(dirfd, out, base);
    if (parent == 0 || parent >= PATH_MAX)
        return 0;
    if (parent > 1)
        out[parent++] = '/';
    memcpy(out + parent, name + base, size - base);
    return parent + size - base;
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
