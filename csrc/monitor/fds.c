/* fds.c - from a descriptor to the path it stands for.
 *
 * The table remembers for a descriptor either nothing, or that it is of no interest, or a slot.
 * Invariant: an entry is only ever a shortcut.  Whatever may have given the number another meaning
 * (close, dup2, a rename) forgets it, nothing copies identity from one descriptor to another, and
 * the next use asks the kernel again, as does a use after a moment (PCM_NAME_NS), since somebody
 * else may have renamed the file. */
#define _GNU_SOURCE
#include <string.h>

#include "entry.h"
#include "monitor.h"
#include "sys.h"

/* What /proc says of a descriptor of this thread, which may outlive the process's first, into `out`
 * of PCM_PATH_MAX bytes; its size, 0 or -1 as pcm_read_path. */
long
pcm_fd_path(int fd, char *out)
{
    char link[48] = "/proc/thread-self/fd/", digits[12];
    size_t end = sizeof("/proc/thread-self/fd/") - 1;
    int count = 0;

    do
        digits[count++] = (char)('0' + fd % 10);
    while ((fd /= 10) > 0);
    while (count > 0)
        link[end++] = digits[--count];
    link[end] = '\0';
    return pcm_read_path(link, out);
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
    if (fd < PCM_FDS && pcm_owns_memory() &&
        !atomic_load_explicit(&pcm_state->split, memory_order_relaxed))
        atomic_store_explicit(&pcm_state->fds[fd], pcm_entry_make(kind, slot),
                              memory_order_relaxed);
}

/* Whether something is a file that could be moved: a regular one, and no view of the kernel's. */
static bool
is_file(const struct stat *status)
{
    return S_ISREG(status->st_mode) && status->st_dev != pcm_config.proc_dev;
}

/* Add an event to the pinned slot that a descriptor was found to stand for.  A file that was opened
 * to be read only is not asked for again. */
static void
add_to_slot(int fd, pcm_slot_t *slot, const pcm_event_t *event)
{
    if (event->opens == 0 || (event->use & PCM_WRITE) != 0)
        remember(fd, PCM_IN_SLOT, slot);
    pcm_slot_add(slot, event, pcm_now());
    pcm_slot_unpin(slot);
}

/* Add an event to the path of a regular file's descriptor; `tag` is to remember the name by. */
static void
add_to_path(int fd, const char *path, size_t size, const pcm_event_t *event, uint64_t tag)
{
    pcm_slot_t *slot = pcm_slot_pin_path(path, size);

    if (slot == NULL) {
        pcm_account(path, size, *event);
        return;
    }
    if (tag != 0)
        pcm_name_remember(tag, slot);
    add_to_slot(fd, slot, event);
}

/* The path of a regular file's descriptor from /proc; 0: it has none, and the descriptor is of no
 * interest; negative: there is none to be had. */
static long
ask_for_path(int fd, const struct stat *status, char *out)
{
    long size = pcm_fd_path(fd, out);

    if (size > 0 && status->st_nlink == 0)
        size = (long)strip_deleted(out, (size_t)size);
    if (size == 0)
        remember(fd, PCM_IGNORED, NULL);
    return size;
}

/* Add an event to the slot that an entry leads to; false: it has another path now. */
static bool
add_to_entry(uint64_t entry, const pcm_event_t *event, uint64_t now)
{
    pcm_slot_t *slot = pcm_entry_slot(entry);

    if (!pcm_slot_pin(slot, pcm_entry_generation(entry)))
        return false;
    pcm_slot_add(slot, event, now);
    pcm_slot_unpin(slot);
    return true;
}

/* An event on a descriptor of which the table knows nothing, or nothing new. */
static void
on_unknown_fd(int fd, uint64_t entry, pcm_event_t event)
{
    struct stat status;
    char *path;
    long size;

    if (atomic_load_explicit(&pcm_state->pid, memory_order_relaxed) == 0)
        pcm_identify();
    if (pcm_identify_fd(fd, &status, &event.identity) < 0)
        return;
    if (!is_file(&status)) {
        remember(fd, PCM_IGNORED, NULL);
        return;
    }
    path = pcm_scratch_acquire();
    size = path == NULL ? -1 : ask_for_path(fd, &status, path);
    if (size > 0)
        add_to_path(fd, path, (size_t)size, &event, 0);
    else if (size < 0 && !(pcm_entry_kind(entry) == PCM_IN_SLOT &&
                           add_to_entry(entry, &event, pcm_now()))) /* as it was known before */
        pcm_mark_lost(PCM_LOST_PATH);
    pcm_scratch_release(path);
}

void
pcm_on_fd(int fd, pcm_event_t event)
{
    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) || fd < 0)
        return;
    uint64_t entry = PCM_UNKNOWN;
    if (fd < PCM_FDS) {
        entry = atomic_load_explicit(&pcm_state->fds[fd], memory_order_relaxed);
        uint32_t kind = pcm_entry_kind(entry);
        if (kind == PCM_IGNORED)
            return;
        uint64_t now = pcm_now();
        pcm_slot_t *slot = pcm_entry_slot(entry);
        if (kind == PCM_IN_SLOT && pcm_slot_is_named(slot, now)) {
            bool plain = event.writes == 1 && event.opens == 0 && event.changes == 0;
            uint32_t generation = pcm_entry_generation(entry);
            if (plain && pcm_slot_add_write(slot, generation, event.bytes, now))
                return;
            if (add_to_entry(entry, &event, now))
                return;
        }
    }
    on_unknown_fd(fd, entry, event);
}

/* Whether a name led to the file itself and not to a link to it: then the path is the directory's
 * and the name. */
static bool
is_no_link(int dirfd, const char *name, int flags, const struct stat *status)
{
    struct stat named;

    if ((flags & O_NOFOLLOW) != 0 || (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        return true;
    return pcm_sys_lstatat(dirfd, name, &named) == 0 && named.st_ino == status->st_ino &&
           named.st_dev == status->st_dev;
}

/* A successful open, if it is one of a file; `name`, if it is known, is relative to `dirfd`. */
static void
on_file_opened(int fd, int flags, int dirfd, const char *name, pcm_event_t event)
{
    struct stat status;
    pcm_slot_t *slot;
    uint64_t tag;
    long size = 0;
    char *path;

    if (pcm_identify_fd(fd, &status, &event.identity) < 0 || !is_file(&status))
        return;
    tag = pcm_name_tag(dirfd, name, &status);
    slot = pcm_name_recall(tag, pcm_now());
    if (slot != NULL) {
        add_to_slot(fd, slot, &event);
        return;
    }
    path = pcm_scratch_acquire();
    if (path != NULL && name != NULL && status.st_nlink > 0 &&
        is_no_link(dirfd, name, flags, &status))
        size = (long)pcm_name_path(dirfd, name, path);
    if (size == 0)
        size = path == NULL ? -1 : ask_for_path(fd, &status, path);
    if (size > 0)
        add_to_path(fd, path, (size_t)size, &event, tag);
    else if (size < 0)
        pcm_mark_lost(PCM_LOST_PATH);
    pcm_scratch_release(path);
}

/* A successful open: the number has a new meaning, whatever it meant before. */
void
pcm_on_open(int fd, int flags, int dirfd, const char *name)
{
    pcm_event_t event = {.opens = 1, .changes = (flags & O_TRUNC) != 0};

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
    on_file_opened(fd, flags, dirfd, name, event);
}

void
pcm_forget_fd(int fd)
{
    if (atomic_load_explicit(&pcm_active, memory_order_relaxed) && fd >= 0 && fd < PCM_FDS &&
        atomic_load_explicit(&pcm_state->fds[fd], memory_order_relaxed) != PCM_UNKNOWN)
        atomic_store_explicit(&pcm_state->fds[fd], PCM_UNKNOWN, memory_order_relaxed);
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
