/* look.c - asks the kernel about the file behind a row's path.
 *
 * Invariant: a file is looked at by its name only, links not followed, nothing mounted and nothing
 * opened; the time that is noted is not after what was found. */
#define _GNU_SOURCE
#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "inside.h"

static uint64_t
now_ns(void)
{
    struct timespec now = {0};

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Fill in the row's size and birth; `path` has no end of its own. */
void
pcb_look_at(pcb_access_t *row, const char *path)
{
    struct statx found;
    char name[PATH_MAX];
    uint64_t born_ns;

    row->looked_ns = now_ns();
    row->size = PCB_NO_FILE;
    if (row->path.size >= sizeof(name) || row->path.size == 0 || path[0] != '/')
        return;
    memcpy(name, path, row->path.size);
    name[row->path.size] = '\0';
    if (statx(AT_FDCWD, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
              STATX_BASIC_STATS | STATX_BTIME, &found) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            row->size = PCB_GONE;
        return;
    }
    if (!S_ISREG(found.stx_mode))
        return;
    row->size = (int64_t)found.stx_size;
    if ((found.stx_mask & STATX_BTIME) == 0)
        return;
    born_ns = (uint64_t)found.stx_btime.tv_sec * 1000000000u + found.stx_btime.tv_nsec;
    if (born_ns > row->born_ns)
        row->born_ns = born_ns;
}

/* The same for a path alone: its size, or what it is instead. */
EXPORT int64_t
pcb_find(const char *path, size_t size, uint64_t *born_ns)
{
    pcb_access_t row = {.path = {.size = size}};

    pcb_look_at(&row, path);
    *born_ns = row.born_ns;
    return row.size;
}
