/*
 * statuses.c -- one statx per name.
 *
 * A name is absent, and not in error, if something on the way to it is: what an application deletes
 * or replaces while we look is normal.
 */
#define _GNU_SOURCE
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const int64_t SECOND_NS = 1000000000;

static int64_t
nanoseconds(const struct statx_timestamp *time)
{
    return time->tv_sec * SECOND_NS + time->tv_nsec;
}

int
pcs_status_of(int directory, const char *name, pcs_status_t *status)
{
    struct statx found;
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_SYNC_AS_STAT;
    if (*name == '\0')
        flags |= AT_EMPTY_PATH;
    memset(status, 0, sizeof *status);
    if (statx(directory, name, flags, STATX_BASIC_STATS | STATX_BTIME, &found) != 0) {
        status->size = -errno;
        return -errno;
    }
    status->size = (int64_t)found.stx_size;
    status->mtime_ns = nanoseconds(&found.stx_mtime);
    status->ctime_ns = nanoseconds(&found.stx_ctime);
    status->birth_ns = found.stx_mask & STATX_BTIME ? nanoseconds(&found.stx_btime) : 0;
    status->ino = found.stx_ino;
    status->dev = makedev(found.stx_dev_major, found.stx_dev_minor);
    status->mode = found.stx_mode;
    status->uid = found.stx_uid;
    status->gid = found.stx_gid;
    status->nlink = found.stx_nlink;
    return 0;
}

static int
append(pcs_moved_list_t *moved, int64_t index, const pcs_status_t *status)
{
    if (moved->count == moved->capacity) {
        int64_t capacity = moved->capacity ? 2 * moved->capacity : 64;
        pcs_moved_t *entry = realloc(moved->entry, (size_t)capacity * sizeof *entry);
        if (!entry)
            return -ENOMEM;
        moved->entry = entry;
        moved->capacity = capacity;
    }
    moved->entry[moved->count++] = (pcs_moved_t){index, *status};
    return 0;
}

static bool
is_young(const pcs_status_t *status, const pcs_young_t *young, int64_t index)
{
    int64_t longer_ns = 0;
    if (!status->mode || !young->older_ns)
        return false;
    if (S_ISREG(status->mode)) {
        double writing = 0;
        if (young->write_rate > 0)
            writing = (double)status->size / (double)young->write_rate;
        longer_ns = writing < 1 ? (int64_t)(writing * (double)SECOND_NS) : SECOND_NS;
        longer_ns += young->under_way_ns;
    }
    return status->ctime_ns >= young->older_ns[index] - longer_ns;
}

int
pcs_statuses(const char *const *name, int64_t count, const pcs_status_t *known,
             const pcs_young_t *young, pcs_moved_list_t *moved)
{
    for (int64_t i = 0; i < count; i++) {
        pcs_status_t status;
        if (!name[i])
            continue;
        pcs_status_of(AT_FDCWD, name[i], &status);
        bool same = memcmp(&status, &known[i], sizeof status) == 0;
        int error = same && !is_young(&status, young, i) ? 0 : append(moved, i, &status);
        if (error)
            return error;
    }
    return 0;
}

void
pcs_moved_free(pcs_moved_list_t *moved)
{
    free(moved->entry);
    memset(moved, 0, sizeof *moved);
}
