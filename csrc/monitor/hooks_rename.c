/* hooks_rename.c - whatever gives a file another name, or one more.
 *
 * Invariants: a rename also changes what open descriptors are called, so that all of them are
 * resolved again; a renamed directory is reported as such, since every path below it changed; a file
 * by both its names, after what was counted of either and before what will be. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "entry.h"
#include "fds.h"
#include "flush.h"
#include "hooks.h"
#include "identity.h"
#include "looks.h"
#include "names.h"
#include "real.h"
#include "report.h"
#include "slots.h"
#include "state.h"
#include "wire.h"

#include "rules.h"

/* An old name and a new one. */
typedef struct {
    int old_dirfd, new_dirfd;
    const char *old, *new;
} names_t;

/* Two names as a record has them. */
typedef struct {
    char *text; /* the old path, '\0', the new one */
    size_t old_size, size;
} paths_t;

/* Where paths can be told, `out` has memory that is to be released. */
static bool
find_paths(const names_t *names, paths_t *out)
{
    char *to = pcm_scratch_acquire();
    size_t to_size = 0;

    *out = (paths_t){.text = pcm_scratch_acquire()};
    if (out->text != NULL && to != NULL) {
        out->old_size = pcm_name_path(names->old_dirfd, names->old, out->text);
        to_size = pcm_name_path(names->new_dirfd, names->new, to);
    }
    if (out->old_size > 0 && to_size > 0 && out->old_size + to_size < PCM_PATH_MAX) {
        out->text[out->old_size] = '\0';
        memcpy(out->text + out->old_size + 1, to, to_size);
        out->size = out->old_size + 1 + to_size;
    }
    pcm_scratch_release(to);
    if (out->size > 0)
        return true;
    pcm_scratch_release(out->text);
    return false;
}

static void
on_directory_renamed(const names_t *names, uint64_t now)
{
    pcm_record_t record = {.kind = PCM_KIND_RENAMED, .first_ns = now, .last_ns = now};
    paths_t paths;

    if (!find_paths(names, &paths)) {
        pcm_mark_lost(PCM_LOST_PATH);
        return;
    }
    pcm_flush_all(); /* what was reported under the old names comes first */
    pcm_report(&record, paths.text, paths.size, NULL);
    pcm_scratch_release(paths.text);
}

/* Either path by itself: they do not fit into one record, or the file is none that is written. */
static void
report_apart(const names_t *names, const pcm_file_t *file, uint32_t how)
{
    pcm_event_t event = {.use = PCM_WRITE, .changes = 1};

    if (how != PCM_LINKED)
        pcm_on_path(names->old_dirfd, names->old, event);
    event.identity = file->identity;
    event.born_ns = file->birth_ns;
    pcm_on_path(names->new_dirfd, names->new, event);
}

/* The new name stands for a file that had the old one, or still has it. */
static void
on_file_moved(const names_t *names, const pcm_file_t *file, uint32_t how, uint64_t exactly)
{
    pcm_record_t record = {
        .kind = PCM_KIND_MOVED,
        .use = PCM_WRITE | how,
        .first_ns = pcm_now(), /* the clock of all that may come before or after it */
        .last_ns = exactly,
        .changes = 1,
        .identity = file->identity,
        .born_ns = file->birth_ns,
        .length = file->size + 1,
    };
    pcm_slot_t *slot;
    paths_t paths;
    const char *new;

    if (!S_ISREG(file->mode) || !find_paths(names, &paths)) {
        report_apart(names, file, how);
        return;
    }
    if (atomic_load_explicit(&pcm_state->pid, memory_order_relaxed) == 0)
        pcm_identify();
    new = paths.text + paths.old_size + 1;
    pcm_slot_report(paths.text, paths.old_size);
    pcm_slot_report(new, paths.size - paths.old_size - 1);
    pcm_report(&record, paths.text, paths.size, NULL);
    slot = pcm_slot_pin_path(new, paths.size - paths.old_size - 1);
    if (slot != NULL) {
        pcm_place_remember(file->identity, slot);
        atomic_store_explicit(&slot->born_ns, file->birth_ns, memory_order_relaxed);
        pcm_slot_unpin(slot);
    }
    pcm_scratch_release(paths.text);
}

static void
on_renamed_at(const names_t *names, uint64_t now, uint64_t exactly)
{
    pcm_file_t file = {0};

    if (pcm_find_file(names->new_dirfd, names->new, AT_SYMLINK_NOFOLLOW, &file) == 0 &&
        S_ISDIR(file.mode))
        on_directory_renamed(names, now);
    else
        on_file_moved(names, &file, 0, exactly);
    pcm_forget_all_fds();
}

/* After an exchange either name stands for what the other did: two renames of one time. */
int
pcm_on_rename2(int failed, int old_dirfd, const char *old, int new_dirfd, const char *new,
               unsigned flags)
{
    names_t names = {old_dirfd, new_dirfd, old, new}, back = {new_dirfd, old_dirfd, new, old};
    uint64_t now, exactly;

    if (failed || !atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return failed;
    now = pcm_now();
    exactly = pcm_now_exact();
    if ((flags & RENAME_EXCHANGE) != 0)
        on_renamed_at(&back, now, exactly);
    on_renamed_at(&names, now, exactly);
    return 0;
}

PCM_EXPORT int
rename(const char *old, const char *new)
{
    return pcm_on_rename2(PCM_REAL(rename)(old, new), AT_FDCWD, old, AT_FDCWD, new, 0);
}

PCM_EXPORT int
renameat(int old_dirfd, const char *old, int new_dirfd, const char *new)
{
    return pcm_on_rename2(PCM_REAL(renameat)(old_dirfd, old, new_dirfd, new), old_dirfd, old,
                          new_dirfd, new, 0);
}

PCM_EXPORT int
renameat2(int old_dirfd, const char *old, int new_dirfd, const char *new, unsigned flags)
{
    return pcm_on_rename2(PCM_REAL(renameat2)(old_dirfd, old, new_dirfd, new, flags), old_dirfd,
                          old, new_dirfd, new, flags);
}

/* The old name is needed too: without it the new one could not be made. */
int
pcm_on_link(int failed, int old_dirfd, const char *old, int new_dirfd, const char *new, int flags)
{
    names_t names = {old_dirfd, new_dirfd, old, new};
    pcm_file_t file = {0};
    bool nameless;

    if (failed || !atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return failed;
    /* What a descriptor stands for may have got its first name: then there is no old one. */
    nameless = (flags & (AT_EMPTY_PATH | AT_SYMLINK_FOLLOW)) != 0;
    if (nameless)
        pcm_forget_all_fds();
    pcm_on_look(old_dirfd, old, (flags & AT_SYMLINK_FOLLOW) != 0, NULL);
    pcm_find_file(new_dirfd, new, AT_SYMLINK_NOFOLLOW, &file);
    if (nameless)
        report_apart(&names, &file, PCM_LINKED);
    else
        on_file_moved(&names, &file, PCM_LINKED, pcm_now_exact());
    return 0;
}

PCM_EXPORT int
link(const char *old, const char *new)
{
    return pcm_on_link(PCM_REAL(link)(old, new), AT_FDCWD, old, AT_FDCWD, new, 0);
}

PCM_EXPORT int
linkat(int old_dirfd, const char *old, int new_dirfd, const char *new, int flags)
{
    return pcm_on_link(PCM_REAL(linkat)(old_dirfd, old, new_dirfd, new, flags), old_dirfd, old,
                       new_dirfd, new, flags);
}
