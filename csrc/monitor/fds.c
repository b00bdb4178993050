/* fds.c - from a descriptor or a name to the path it stands for.
 *
 * The table remembers for a descriptor either nothing, or that it is of no interest, or a slot.
 * Invariant: an entry is only ever a shortcut.  Whatever may have given the number another meaning
 * (close, dup2, a rename) forgets it, nothing copies identity from one descriptor to another, and
 * the next use asks the kernel again: one fstat and one readlink. */
#define _GNU_SOURCE
#include <string.h>

#include "monitor.h"
#include "sys.h"

/* An entry: kind (2 bits), slot (12), epoch (18), the slot's generation (32). */
enum { UNKNOWN = 0, IGNORED = 1, IN_SLOT = 2 };
#define EPOCH_MASK 0x3ffffu

static uint64_t
entry_make(uint32_t kind, size_t slot, uint32_t epoch, uint32_t generation)
{
    return kind | (uint64_t)slot << 2 | (uint64_t)(epoch & EPOCH_MASK) << 14 |
           (uint64_t)generation << 32;
}

static uint32_t
current_epoch(void)
{
    return atomic_load_explicit(&pcm_state->epoch, memory_order_relaxed) & EPOCH_MASK;
}

/* A signal handler may run on a small stack: paths are built in a few shared buffers.  NULL: all in
 * use, then the event is lost, and counted as lost by whoever got NULL. */
char *
pcm_scratch_acquire(void)
{
    uint32_t used = atomic_load(&pcm_state->scratches);

    for (;;) {
        uint32_t free_bits = ~used & ((1u << PCM_SCRATCHES) - 1);
        if (free_bits == 0)
            return NULL;
        uint32_t bit = free_bits & (~free_bits + 1);
        if (atomic_compare_exchange_weak(&pcm_state->scratches, &used, used | bit))
            return pcm_state->scratch[__builtin_ctz(bit)];
    }
}

void
pcm_scratch_release(char *scratch)
{
    if (scratch == NULL)
        return;
    size_t index = (size_t)(scratch - pcm_state->scratch[0]) / PCM_PATH_MAX;
    atomic_fetch_and(&pcm_state->scratches, ~(1u << index));
}

static long
read_fd_path(int fd, char *out)
{
    char link[32] = "/proc/self/fd/", digits[12];
    size_t end = sizeof("/proc/self/fd/") - 1;
    int count = 0;

    do
        digits[count++] = (char)('0' + fd % 10);
    while ((fd /= 10) > 0);
    while (count > 0)
        link[end++] = digits[--count];
    link[end] = '\0';
    return pcm_sys_readlink(link, out, PCM_PATH_MAX);
}

/* A file without a name is reported under the last name it had, unless it never had one. */
static size_t
strip_deleted(const char *path, size_t size)
{
    static const char suffix[] = " (deleted)";
    size_t length = sizeof(suffix) - 1;

    if (size > length && memcmp(path + size - length, suffix, length) == 0)
        size -= length;
    if (size > 7 && memcmp(path, "/memfd:", 7) == 0)
        return 0;
    size_t base = size;
    while (base > 0 && path[base - 1] != '/')
        base--;
    return base < size && path[base] == '#' ? 0 : size; /* O_TMPFILE: "#inode" */
}

static void
remember(int fd, uint32_t kind, const pcm_slot_t *slot)
{
    size_t index = 0;
    uint32_t generation = 0;

    if (fd >= PCM_FDS || !pcm_owns_fds())
        return;
    if (slot != NULL) {
        index = (size_t)(slot - pcm_state->slots);
        generation = pcm_slot_generation(atomic_load(&slot->state));
    }
    uint64_t entry = entry_make(kind, index, current_epoch(), generation);
    atomic_store_explicit(&pcm_state->fds[fd], entry, memory_order_relaxed);
}

static void
remember_name(uint64_t tag, pcm_slot_t *slot)
{
    size_t index = (size_t)(slot - pcm_state->slots);
    uint32_t generation = pcm_slot_generation(atomic_load(&slot->state));

    atomic_store_explicit(&slot->name_tag, tag, memory_order_relaxed);
    atomic_store_explicit(&pcm_state->names[tag % PCM_NAMES],
                          entry_make(IN_SLOT, index, current_epoch(), generation),
                          memory_order_relaxed);
}

/* A name that leads to the same inode as before leads to it by the same path: the tag stands for
 * both.  0: not to be remembered, being relative to a descriptor. */
uint64_t
pcm_name_tag(int dirfd, const char *name, const struct stat *status)
{
    uint64_t hash;

    if (name == NULL || (name[0] != '/' && dirfd != AT_FDCWD))
        return 0;
    hash = pcm_hash(status->st_ino * 0x9e3779b97f4a7c15u + status->st_dev, name, strlen(name));
    if (name[0] != '/')
        hash += atomic_load_explicit(&pcm_state->cwd_epoch, memory_order_relaxed);
    return hash | 1;
}

/* Add an event to the path that a tag stands for, which `fd` was opened to write to unless it is
 * -1; false: it is not remembered. */
bool
pcm_on_tag(uint64_t tag, int fd, pcm_event_t event)
{
    uint64_t entry = atomic_load_explicit(&pcm_state->names[tag % PCM_NAMES], memory_order_relaxed);
    pcm_slot_t *slot = &pcm_state->slots[entry >> 2 & (PCM_SLOTS - 1)];
    bool found = false;

    if ((entry & 3) != IN_SLOT || (uint32_t)(entry >> 14 & EPOCH_MASK) != current_epoch() ||
        !pcm_slot_pin(slot, (uint32_t)(entry >> 32)))
        return false;
    if (atomic_load_explicit(&slot->name_tag, memory_order_relaxed) == tag) {
        if (fd >= 0 && (event.use & PCM_WRITE) != 0)
            remember(fd, IN_SLOT, slot);
        pcm_slot_add(slot, &event);
        found = true;
    }
    pcm_slot_unpin(slot);
    return found;
}

/* The working directory changed: what relative names stand for is unknown. */
void
pcm_forget_cwd(void)
{
    if (atomic_load_explicit(&pcm_active, memory_order_relaxed))
        atomic_fetch_add(&pcm_state->cwd_epoch, 1);
}

/* Resolve a regular file's descriptor and add the event; `tag` remembers the name it was opened by.
 */
static void
resolve_fd(int fd, const struct stat *status, pcm_event_t event, uint64_t tag)
{
    pcm_slot_t *slot = NULL;
    char *path;
    long size;

    path = pcm_scratch_acquire();
    size = path == NULL ? -1 : read_fd_path(fd, path);
    if (size > 0 && status->st_nlink == 0 &&
        (size = (long)strip_deleted(path, (size_t)size)) == 0) {
        remember(fd, IGNORED, NULL);
    } else if (size <= 0 || path[0] != '/') {
        pcm_mark_lost(PCM_LOST_PATH);
    } else if ((slot = pcm_slot_pin_path(path, (size_t)size)) != NULL) {
        /* What was opened to be read only is not asked for again. */
        if (event.opens == 0 || (event.use & PCM_WRITE) != 0)
            remember(fd, IN_SLOT, slot);
        if (tag != 0)
            remember_name(tag, slot);
        pcm_slot_add(slot, &event);
        pcm_slot_unpin(slot);
    } else {
        pcm_account(path, (size_t)size, event);
    }
    pcm_scratch_release(path);
}

static void
on_unknown_fd(int fd, pcm_event_t event)
{
    struct stat status;

    if (atomic_load_explicit(&pcm_state->pid, memory_order_relaxed) == 0)
        pcm_identify();
    if (pcm_sys_fstat(fd, &status) < 0)
        return;
    if (S_ISREG(status.st_mode))
        resolve_fd(fd, &status, event, 0);
    else
        remember(fd, IGNORED, NULL);
}

void
pcm_on_fd(int fd, pcm_event_t event)
{
    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) || fd < 0)
        return;
    if (fd < PCM_FDS) {
        uint64_t entry = atomic_load_explicit(&pcm_state->fds[fd], memory_order_relaxed);
        bool fresh = (uint32_t)(entry >> 14 & EPOCH_MASK) == current_epoch();
        if (fresh && (entry & 3) == IGNORED)
            return;
        if (fresh && (entry & 3) == IN_SLOT) {
            pcm_slot_t *slot = &pcm_state->slots[entry >> 2 & (PCM_SLOTS - 1)];
            bool plain = event.writes == 1 && event.opens == 0 && event.changes == 0;
            if (plain && pcm_slot_add_write(slot, (uint32_t)(entry >> 32), event.bytes))
                return;
            if (pcm_slot_pin(slot, (uint32_t)(entry >> 32))) {
                pcm_slot_add(slot, &event);
                pcm_slot_unpin(slot);
                return;
            }
        }
    }
    on_unknown_fd(fd, event);
}

/* A successful open: the number has a new meaning, whatever it meant before.  `name`, if it is
 * known, is what was opened, relative to `dirfd`. */
void
pcm_on_open(int fd, int flags, int dirfd, const char *name)
{
    pcm_event_t event = {.opens = 1, .changes = (flags & O_TRUNC) != 0};
    struct stat status;
    uint64_t tag;

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) || fd < 0)
        return;
    pcm_forget_fd(fd);
    if ((flags & (O_PATH | O_DIRECTORY)) != 0 && (flags & O_TMPFILE) != O_TMPFILE)
        return;
    if ((flags & O_ACCMODE) != O_WRONLY)
        event.use |= PCM_READ;
    if ((flags & O_ACCMODE) != O_RDONLY)
        event.use |= PCM_WRITE;
    if (atomic_load_explicit(&pcm_state->pid, memory_order_relaxed) == 0)
        pcm_identify();
    if (pcm_sys_fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return;
    tag = pcm_name_tag(dirfd, name, &status);
    if (tag == 0 || !pcm_on_tag(tag, fd, event))
        resolve_fd(fd, &status, event, tag);
}

void
pcm_forget_fd(int fd)
{
    if (atomic_load_explicit(&pcm_active, memory_order_relaxed) && fd >= 0 && fd < PCM_FDS &&
        atomic_load_explicit(&pcm_state->fds[fd], memory_order_relaxed) != UNKNOWN)
        atomic_store_explicit(&pcm_state->fds[fd], UNKNOWN, memory_order_relaxed);
}

void
pcm_forget_all_fds(void)
{
    if (atomic_load_explicit(&pcm_active, memory_order_relaxed))
        atomic_fetch_add(&pcm_state->epoch, 1);
}

bool
pcm_is_own(int fd)
{
    return fd >= 0 && fd == atomic_load_explicit(&pcm_own_fd, memory_order_relaxed);
}

/* The canonical path of the directory that `path`, cut at `base`, lies in; its size, or 0. */
static size_t
resolve_parent(int dirfd, const char *path, size_t base, char *out)
{
    long size;
    int fd;

    if (base == 0 && dirfd == AT_FDCWD) {
        size = pcm_sys_readlink("/proc/self/cwd", out, PCM_PATH_MAX);
    } else if (base == 0) {
        size = read_fd_path(dirfd, out);
    } else if (base >= PATH_MAX) {
        return 0;
    } else {
        memcpy(out, path, base);
        out[base] = '\0';
        fd = pcm_sys_openat(dirfd, out, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
        if (fd < 0)
            return 0;
        size = read_fd_path(fd, out);
        pcm_sys_close(fd);
    }
    return size > 0 && out[0] == '/' ? (size_t)size : 0;
}

/* The absolute path of a name, its last component not followed, into `out` of PCM_PATH_MAX bytes.
 * Returns its size, or 0 if it cannot be told. */
size_t
pcm_resolve_name(int dirfd, const char *path, char *out)
{
    size_t size = strlen(path), base, parent;

    while (size > 1 && path[size - 1] == '/')
        size--;
    for (base = size; base > 0 && path[base - 1] != '/';)
        base--;
    parent = resolve_parent(dirfd, path, base, out);
    if (parent == 0 || size - base > NAME_MAX || parent >= PATH_MAX)
        return 0;
    if (parent > 1)
        out[parent++] = '/';
    memcpy(out + parent, path + base, size - base);
    return parent + size - base;
}

/* Something happened to a file by its name. */
void
pcm_on_path(int dirfd, const char *path, pcm_event_t event)
{
    size_t size = 0;

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) || path == NULL)
        return;
    if (atomic_load_explicit(&pcm_state->pid, memory_order_relaxed) == 0)
        pcm_identify();
    char *name = pcm_scratch_acquire();
    if (name != NULL)
        size = pcm_resolve_name(dirfd, path, name);
    if (size > 0)
        pcm_account(name, size, event);
    else
        pcm_mark_lost(PCM_LOST_PATH);
    pcm_scratch_release(name);
}
