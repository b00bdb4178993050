/* fds.c - from a descriptor to the path it stands for.
 *
 * The table remembers for a descriptor either nothing, or that it is of no interest, or a slot.
 * Invariant: an entry is only ever a shortcut.  Whatever may have given the number another meaning
 * (close, dup2, a rename) forgets it, nothing copies identity from one descriptor to another, and
 * the next use asks the kernel again, as does a use after a moment (PCM_NAME_NS), since somebody
 * else may have renamed the file. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "entry.h"
#include "fds.h"
#include "identity.h"
#include "looks.h"
#include "names.h"
#include "pipe.h"
#include "proc.h"
#include "report.h"
#include "slots.h"
#include "state.h"
#include "walk.h"
#include "wire.h"

#include "rules.h"

/* Why a path is not known. */
enum { NAMELESS = 0, PATHLESS = -1, REMOVED = -2, NO_FILE = -3 };

static const char deleted[] = " (deleted)";

static bool
is_deleted(const char *path, size_t size)
{
    size_t length = sizeof(deleted) - 1;

    return size > length && memcmp(path + size - length, deleted, length) == 0;
}

static size_t
base_of(const char *path, size_t size)
{
    while (size > 0 && path[size - 1] != '/')
        size--;
    return size;
}

/* A file without a name is reported under the last name it had, unless it never had one; NO_FILE:
 * it cannot ever have one. */
static long
last_name(const char *path, size_t size)
{
    static const char memory[] = "/memfd:";

    if (is_deleted(path, size))
        size -= sizeof(deleted) - 1;
    if (size >= sizeof(memory) - 1 && memcmp(path, memory, sizeof(memory) - 1) == 0)
        return NO_FILE;
    size_t base = base_of(path, size);
    return base < size && path[base] == '#' ? NAMELESS : (long)size; /* O_TMPFILE: "#inode" */
}

static void
remember(int fd, uint64_t entry)
{
    if (fd < PCM_FDS && pcm_owns_memory() &&
        !atomic_load_explicit(&pcm_state->split, memory_order_relaxed))
        atomic_store_explicit(&pcm_state->fds[fd], entry, memory_order_relaxed);
}

/* Whether something is a file that could be moved: a regular one, and no view of the kernel's. */
static bool
is_file(const pcm_file_t *file)
{
    return S_ISREG(file->mode) && file->device != pcm_config.proc_dev;
}

/* Add an event to the pinned slot that a descriptor was found to stand for.  A file that was opened
 * to be read only is not asked for again. */
static void
add_to_slot(int fd, pcm_slot_t *slot, const pcm_event_t *event, uint64_t now)
{
    if (event->opens == 0 || (event->use & PCM_WRITE) != 0)
        remember(fd, pcm_entry_make(PCM_IN_SLOT, slot));
    pcm_slot_add(slot, event, now);
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
    pcm_name_remember(tag, slot);
    pcm_place_remember(event->identity, slot);
    add_to_slot(fd, slot, event, pcm_now());
}

/* The path of a regular file's descriptor, into `out` of PCM_PATH_MAX bytes; NAMELESS, NO_FILE;
 * REMOVED: the name in `out` was removed, but the file has others; or PATHLESS. */
static long
ask_for_path(int fd, const pcm_file_t *file, char *out)
{
    long size = 0;
    bool removed;

    /* Once more, if the file got another name in between. */
    for (int tries = 0; tries < 2; tries++) {
        size = pcm_fd_path(fd, out);
        if (size <= 0)
            return size == 0 ? NO_FILE : PATHLESS;
        if (file->links == 0)
            return last_name(out, (size_t)size);
        if (pcm_path_leads_to(out, (size_t)size, file))
            return size;
    }
    /* It was given a name by link(), or is in a mount that was taken away: as it was known before. */
    removed = is_deleted(out, (size_t)size);
    size = (long)pcm_place_recall(file->identity, out);
    if (removed && (size == 0 || !pcm_path_leads_to(out, (size_t)size, file)))
        return REMOVED;
    return size > 0 ? size : PATHLESS;
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

/* Add an event to whatever `size`, from ask_for_path, says of the descriptor's path; `entry` is
 * what was known before. */
static void
add_to_asked(int fd, const char *path, long size, const pcm_event_t *event, uint64_t tag,
             uint64_t entry)
{
    uint64_t now = pcm_now();

    if (size > 0)
        add_to_path(fd, path, (size_t)size, event, tag);
    else if (size == NO_FILE)
        remember(fd, pcm_entry_make(PCM_IGNORED, NULL));
    else if (size == NAMELESS)
        remember(fd, pcm_entry_nameless(now));
    else if (pcm_entry_kind(entry) != PCM_IN_SLOT || !add_to_entry(entry, event, now) ||
             size == REMOVED) /* where it has its other names is unknown */
        pcm_mark_lost(PCM_LOST_PATH);
}

/* An event on a descriptor of which the table knows nothing, or nothing new. */
static void
on_unknown_fd(int fd, uint64_t entry, pcm_event_t event)
{
    pcm_file_t file;
    char *path;
    long size;

    if (atomic_load_explicit(&pcm_state->pid, memory_order_relaxed) == 0)
        pcm_identify();
    if (pcm_find_file(fd, "", AT_EMPTY_PATH, &file) != 0)
        return;
    if (!is_file(&file)) {
        remember(fd, pcm_entry_make(PCM_IGNORED, NULL));
        return;
    }
    event.identity = file.identity;
    event.born_ns = file.birth_ns;
    path = pcm_scratch_acquire();
    size = path == NULL ? PATHLESS : ask_for_path(fd, &file, path);
    add_to_asked(fd, path, size, &event, 0, entry);
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
        if (kind == PCM_NAMELESS && pcm_entry_is_nameless(entry, now))
            return;
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
is_no_link(int dirfd, const char *name, int flags, const pcm_file_t *file)
{
    pcm_file_t named;

    if ((flags & O_NOFOLLOW) != 0 || (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        return true;
    return pcm_find_file(dirfd, name, AT_SYMLINK_NOFOLLOW, &named) == 0 &&
           named.inode == file->inode && named.device == file->device;
}

/* The path of a file that was just opened by a name; 0: it cannot be told from that. */
static long
path_by_name(int dirfd, const char *name, int flags, const pcm_file_t *file, char *out)
{
    if (is_no_link(dirfd, name, flags, file))
        return (long)pcm_name_path(dirfd, name, out);
    return pcm_walk(dirfd, name, file, out);
}

/* A successful open, if it is one of a file; `name`, if it is known, is relative to `dirfd`. */
static void
on_file_opened(int fd, int flags, int dirfd, const char *name, pcm_event_t event)
{
    pcm_file_t file;
    pcm_slot_t *slot;
    uint64_t tag, now;
    long size = 0;
    char *path;

    if (pcm_find_file(fd, "", AT_EMPTY_PATH, &file) != 0)
        return;
    if (!is_file(&file)) {
        pcm_on_look(dirfd, name, (flags & O_NOFOLLOW) == 0, NULL);
        return;
    }
    event.identity = file.identity;
    event.born_ns = file.birth_ns;
    event.length = file.size + 1;
    if (file.birth_ns != 0 && file.birth_ns == file.modified_ns)
        event.changes = 0; /* O_TRUNC made it: there was nothing to cut off */
    now = pcm_now();
    tag = pcm_name_tag(dirfd, name, &file, now);
    slot = pcm_name_recall(tag, now);
    if (slot != NULL) {
        add_to_slot(fd, slot, &event, now);
        return;
    }
    path = pcm_scratch_acquire();
    if (path != NULL && name != NULL && file.links > 0)
        size = path_by_name(dirfd, name, flags, &file, path);
    if (size <= 0)
        size = path == NULL ? PATHLESS : ask_for_path(fd, &file, path);
    add_to_asked(fd, path, size, &event, tag, PCM_UNKNOWN);
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
    pcm_pipe_approached(fd);
    if ((flags & (O_PATH | O_DIRECTORY)) != 0 && (flags & O_TMPFILE) != O_TMPFILE) {
        pcm_on_look(dirfd, name, (flags & O_NOFOLLOW) == 0, NULL);
        return;
    }
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

/* From here on threads may have descriptors of their own. */
void
pcm_split_fds(void)
{
    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return;
    atomic_store(&pcm_state->split, 1);
    pcm_forget_all_fds();
}
