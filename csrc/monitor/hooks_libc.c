/* hooks_libc.c - files that the application names and libc opens: mount tables, the files of logins,
 * time zones, date templates.
 *
 * Invariant: only what the application chose is looked at: libc's own files are the system's. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>
#include <utmpx.h>

#include "fds.h"
#include "hooks.h"
#include "names.h"
#include "real.h"
#include "slots.h"
#include "state.h"
#include "stream.h"
#include "sys.h"
#include "wire.h"

#include "rules.h"

FILE *
__setmntent(const char *path, const char *mode);
int
__endmntent(FILE *stream);

static const pcm_event_t reading = {.use = PCM_READ, .opens = 1};
static const pcm_event_t writing = {.use = PCM_WRITE, .writes = 1, .bytes = sizeof(struct utmp)};

static bool
is_active(void)
{
    return atomic_load_explicit(&pcm_active, memory_order_relaxed);
}

PCM_EXPORT FILE *
setmntent(const char *path, const char *mode)
{
    FILE *stream = PCM_REAL(setmntent)(path, mode);

    if (stream != NULL)
        pcm_on_open(pcm_stream_fd(stream),
                    (int)pcm_sys_fcntl(pcm_stream_fd(stream), F_GETFL, 0) |
                        (mode[0] == 'w' ? O_TRUNC : 0),
                    AT_FDCWD, path);
    return stream;
}

PCM_EXPORT int
addmntent(FILE *stream, const struct mntent *entry)
{
    int fd = pcm_stream_fd(stream), failed;
    long before = pcm_sys(SYS_lseek, fd, 0, SEEK_END, 0, 0, 0); /* as it begins itself */

    failed = PCM_REAL(addmntent)(stream, entry);
    if (!failed)
        pcm_wrote(fd, pcm_sys(SYS_lseek, fd, 0, SEEK_CUR, 0, 0, 0) - before);
    return failed;
}

PCM_EXPORT int
endmntent(FILE *stream)
{
    if (stream != NULL) {
        pcm_stream_ending(stream, PCM_REAL(fflush));
        pcm_forget_fd(pcm_stream_fd(stream));
    }
    return PCM_REAL(endmntent)(stream);
}

PCM_ALIAS(__setmntent, setmntent)
PCM_ALIAS(__endmntent, endmntent)

static char logins[PATH_MAX] = _PATH_UTMP; /* what utmpname() chose */
static _Atomic bool logins_read;

PCM_EXPORT int
utmpname(const char *path)
{
    int failed = PCM_REAL(utmpname)(path);

    if (!failed && strlen(path) < sizeof(logins)) {
        memcpy(logins, path, strlen(path) + 1);
        atomic_store(&logins_read, false);
    }
    return failed;
}

PCM_ALIAS(utmpxname, utmpname)

/* libc opened the file to look for something. */
static void
read_logins(void)
{
    if (is_active() && !atomic_exchange(&logins_read, true))
        pcm_on_target(AT_FDCWD, logins, 0, reading);
}

#define READING(name, type, parameters, arguments)                                                 \
    PCM_EXPORT type name parameters                                                                \
    {                                                                                              \
        type found = PCM_REAL(name) arguments;                                                     \
        read_logins();                                                                             \
        return found;                                                                              \
    }

READING(getutent, struct utmp *, (void), ())
READING(getutid, struct utmp *, (const struct utmp *which), (which))
READING(getutline, struct utmp *, (const struct utmp *which), (which))
READING(getutent_r, int, (struct utmp * out, struct utmp **found_at), (out, found_at))
READING(getutid_r, int, (const struct utmp *which, struct utmp *out, struct utmp **found_at),
        (which, out, found_at))
READING(getutline_r, int, (const struct utmp *which, struct utmp *out, struct utmp **found_at),
        (which, out, found_at))
READING(getutxent, struct utmpx *, (void), ())
READING(getutxid, struct utmpx *, (const struct utmpx *which), (which))
READING(getutxline, struct utmpx *, (const struct utmpx *which), (which))

PCM_EXPORT struct utmp *
pututline(const struct utmp *entry)
{
    struct utmp *put = PCM_REAL(pututline)(entry);

    if (put != NULL)
        pcm_on_target(AT_FDCWD, logins, 0, writing);
    return put;
}

PCM_EXPORT struct utmpx *
pututxline(const struct utmpx *entry)
{
    struct utmpx *put = PCM_REAL(pututxline)(entry);

    if (put != NULL)
        pcm_on_target(AT_FDCWD, logins, 0, writing);
    return put;
}

/* Whether a file is another than it was shows in its times; these functions do not say. */
static bool
status_of(const char *path, struct stat *status)
{
    return is_active() && pcm_sys(SYS_newfstatat, AT_FDCWD, (long)path, (long)status, 0, 0, 0) == 0;
}

static void
wrote_logins(const char *path, bool known, const struct stat *before)
{
    struct stat after;

    if (status_of(path, &after) &&
        (!known || memcmp(&before->st_mtim, &after.st_mtim, sizeof(after.st_mtim)) != 0 ||
         before->st_size != after.st_size))
        pcm_on_target(AT_FDCWD, path, 0, writing);
}

#define LOGGING(path, call)                                                                        \
    struct stat before;                                                                            \
    bool known = status_of(path, &before);                                                         \
    call;                                                                                          \
    wrote_logins(path, known, &before);

PCM_EXPORT void
updwtmp(const char *path, const struct utmp *entry){LOGGING(path, PCM_REAL(updwtmp)(path, entry))}

PCM_EXPORT void updwtmpx(const char *path,
                         const struct utmpx *entry){LOGGING(path, PCM_REAL(updwtmpx)(path, entry))}

PCM_EXPORT void logwtmp(const char *line, const char *name,
                        const char *host){LOGGING(_PATH_WTMP, PCM_REAL(logwtmp)(line, name, host))}

PCM_EXPORT int logout(const char *line)
{
    int done = PCM_REAL(logout)(line);

    if (done)
        pcm_on_target(AT_FDCWD, _PATH_UTMP, 0, writing);
    return done;
}

PCM_EXPORT void
login(const struct utmp *entry)
{
    struct stat table;
    bool had_table = status_of(_PATH_UTMP, &table);

    LOGGING(_PATH_WTMP, PCM_REAL(login)(entry))
    wrote_logins(_PATH_UTMP, had_table, &table);
}

/* The kernel writes there from here on. */
PCM_EXPORT int
acct(const char *path)
{
    int failed = PCM_REAL(acct)(path);

    if (!failed && path != NULL)
        pcm_on_target(AT_FDCWD, path, 0, (pcm_event_t){.use = PCM_WRITE, .opens = 1});
    return failed;
}

/* A file that a variable of the environment names. */
static void
on_variable(const char *name)
{
    const char *path = is_active() ? getenv(name) : NULL;

    if (path != NULL && path[0] != '\0')
        pcm_on_target(AT_FDCWD, path, 0, reading);
}

PCM_EXPORT struct tm *
getdate(const char *text)
{
    struct tm *time = PCM_REAL(getdate)(text);

    on_variable("DATEMSK");
    return time;
}

PCM_EXPORT int
getdate_r(const char *text, struct tm *out)
{
    int failed = PCM_REAL(getdate_r)(text, out);

    on_variable("DATEMSK");
    return failed;
}

/* TZ may name a file, from the root or in the directory that TZDIR names. */
static void
on_time_zone(void)
{
    const char *zone = is_active() ? getenv("TZ") : NULL, *directory = getenv("TZDIR");
    char *path;

    if (zone != NULL && zone[0] == ':')
        zone++;
    if (zone == NULL || zone[0] == '\0')
        return;
    if (zone[0] == '/') {
        pcm_on_target(AT_FDCWD, zone, 0, reading);
    } else if (directory != NULL && (path = pcm_scratch_acquire()) != NULL) {
        if (strlen(directory) + 1 + strlen(zone) < PCM_PATH_MAX) {
            memcpy(path, directory, strlen(directory));
            path[strlen(directory)] = '/';
            memcpy(path + strlen(directory) + 1, zone, strlen(zone) + 1);
            pcm_on_target(AT_FDCWD, path, 0, reading);
        }
        pcm_scratch_release(path);
    }
}

static _Atomic bool zone_known;

static void
first_time(void)
{
    if (!atomic_load_explicit(&zone_known, memory_order_relaxed) &&
        !atomic_exchange(&zone_known, true))
        on_time_zone();
}

PCM_EXPORT void
tzset(void)
{
    PCM_REAL(tzset)();
    atomic_store(&zone_known, true);
    on_time_zone();
}

PCM_EXPORT struct tm *
localtime(const time_t *time)
{
    struct tm *local = PCM_REAL(localtime)(time);

    first_time();
    return local;
}

PCM_EXPORT struct tm *
localtime_r(const time_t *time, struct tm *out)
{
    struct tm *local = PCM_REAL(localtime_r)(time, out);

    first_time();
    return local;
}

PCM_EXPORT time_t
mktime(struct tm *local)
{
    time_t time = PCM_REAL(mktime)(local);

    first_time();
    return time;
}
