/* hooks_directory.c - directories that are made, removed, entered, or whose entries are read.
 *
 * Invariant: what libc reads inside a function of its own (scandir, nftw, fts, glob) passes our
 * hooks by, so each such function has one; what it found is reported as if the application had
 * looked. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fds.h"
#include "hooks.h"
#include "identity.h"
#include "looks.h"
#include "names.h"
#include "real.h"
#include "slots.h"
#include "state.h"
#include "wire.h"

#include "rules.h"

/* A directory was made or removed, unless that `failed`. */
int
pcm_changed_directory(int failed, int dirfd, const char *name)
{
    if (!failed)
        pcm_on_path(dirfd, name, (pcm_event_t){.use = PCM_WRITE | PCM_DIRECTORY, .changes = 1});
    return failed;
}

PCM_EXPORT int
mkdir(const char *name, mode_t mode)
{
    return pcm_changed_directory(PCM_REAL(mkdir)(name, mode), AT_FDCWD, name);
}

PCM_EXPORT int
mkdirat(int dirfd, const char *name, mode_t mode)
{
    return pcm_changed_directory(PCM_REAL(mkdirat)(dirfd, name, mode), dirfd, name);
}

PCM_EXPORT char *
mkdtemp(char *template)
{
    char *name = PCM_REAL(mkdtemp)(template);

    pcm_changed_directory(name == NULL, AT_FDCWD, name);
    return name;
}

PCM_EXPORT int
rmdir(const char *name)
{
    return pcm_changed_directory(PCM_REAL(rmdir)(name), AT_FDCWD, name);
}

/* The links that a new working directory's name passes through are only there to be seen before the
 * name means something else. */
static void
before_chdir(const char *name)
{
    pcm_file_t file;

    if (atomic_load_explicit(&pcm_active, memory_order_relaxed) &&
        pcm_find_file(AT_FDCWD, name, 0, &file) == 0 && S_ISDIR(file.mode))
        pcm_on_look(AT_FDCWD, name, true, &file);
}

PCM_EXPORT int
chdir(const char *name)
{
    before_chdir(name);
    int failed = PCM_REAL(chdir)(name);
    pcm_forget_cwd();
    return failed;
}

PCM_EXPORT int
fchdir(int fd)
{
    int failed = PCM_REAL(fchdir)(fd);

    pcm_forget_cwd();
    return failed;
}

PCM_EXPORT DIR *
opendir(const char *name)
{
    DIR *directory = PCM_REAL(opendir)(name);

    if (directory != NULL) {
        pcm_forget_fd(dirfd(directory));
        pcm_on_listed(AT_FDCWD, name);
    }
    return directory;
}

PCM_EXPORT DIR *
fdopendir(int fd)
{
    DIR *directory = PCM_REAL(fdopendir)(fd);

    if (directory != NULL)
        pcm_on_listed(fd, "");
    return directory;
}

PCM_EXPORT ssize_t
getdents64(int fd, void *entries, size_t size)
{
    ssize_t result = PCM_REAL(getdents64)(fd, entries, size);

    if (result >= 0)
        pcm_on_listed(fd, "");
    return result;
}

static int
scanned(int entries, int dirfd, const char *name)
{
    if (entries >= 0)
        pcm_on_listed(dirfd, name);
    return entries;
}

PCM_EXPORT int
scandir(const char *name, struct dirent ***list, int (*select)(const struct dirent *),
        int (*compare)(const struct dirent **, const struct dirent **))
{
    return scanned(PCM_REAL(scandir)(name, list, select, compare), AT_FDCWD, name);
}

PCM_EXPORT int
scandir64(const char *name, struct dirent64 ***list, int (*select)(const struct dirent64 *),
          int (*compare)(const struct dirent64 **, const struct dirent64 **))
{
    return scanned(PCM_REAL(scandir64)(name, list, select, compare), AT_FDCWD, name);
}

PCM_EXPORT int
scandirat(int dirfd, const char *name, struct dirent ***list, int (*select)(const struct dirent *),
          int (*compare)(const struct dirent **, const struct dirent **))
{
    return scanned(PCM_REAL(scandirat)(dirfd, name, list, select, compare), dirfd, name);
}

PCM_EXPORT int
scandirat64(int dirfd, const char *name, struct dirent64 ***list,
            int (*select)(const struct dirent64 *),
            int (*compare)(const struct dirent64 **, const struct dirent64 **))
{
    return scanned(PCM_REAL(scandirat64)(dirfd, name, list, select, compare), dirfd, name);
}

/* A walk of this thread's through a tree, and what the application wants to be called for it. */
typedef struct {
    int (*each)(const char *, const struct stat *, int);
    int (*each64)(const char *, const struct stat64 *, int);
    int (*visit)(const char *, const struct stat *, int, struct FTW *);
    int (*visit64)(const char *, const struct stat64 *, int, struct FTW *);
    bool enters; /* the working directory is where it is */
} tree_t;

static __thread const tree_t *tree __attribute__((tls_model("initial-exec")));

static void
on_visited(const char *name, int kind)
{
    if (tree->enters)
        pcm_forget_cwd();
    if (kind == FTW_D || kind == FTW_DP)
        pcm_on_listed(AT_FDCWD, name);
    else if (kind == FTW_F || kind == FTW_SL || kind == FTW_SLN)
        pcm_on_look(AT_FDCWD, name, kind == FTW_F, NULL);
}

static int
on_each(const char *name, const struct stat *status, int kind)
{
    const tree_t *mine = tree;

    on_visited(name, kind);
    int result = mine->each(name, status, kind);
    tree = mine;
    return result;
}

static int
on_each64(const char *name, const struct stat64 *status, int kind)
{
    const tree_t *mine = tree;

    on_visited(name, kind);
    int result = mine->each64(name, status, kind);
    tree = mine;
    return result;
}

static int
on_visit(const char *name, const struct stat *status, int kind, struct FTW *where)
{
    const tree_t *mine = tree;

    on_visited(mine->enters ? name + where->base : name, kind);
    int result = mine->visit(name, status, kind, where);
    tree = mine;
    return result;
}

static int
on_visit64(const char *name, const struct stat64 *status, int kind, struct FTW *where)
{
    const tree_t *mine = tree;

    on_visited(mine->enters ? name + where->base : name, kind);
    int result = mine->visit64(name, status, kind, where);
    tree = mine;
    return result;
}

/* Walk a tree with our function in place of the application's, if there is one. */
#define WALK(mine, call)                                                                           \
    const tree_t *outer = tree, here = mine;                                                       \
    tree = &here;                                                                                  \
    int result = call;                                                                             \
    tree = outer;                                                                                  \
    if (here.enters)                                                                               \
        pcm_forget_cwd();                                                                          \
    return result;

PCM_EXPORT int
ftw(const char *name, __ftw_func_t each,
    int fds){WALK({.each = each}, PCM_REAL(ftw)(name, on_each, fds))}

PCM_EXPORT int ftw64(const char *name, __ftw64_func_t each,
                     int fds){WALK({.each64 = each}, PCM_REAL(ftw64)(name, on_each64, fds))}

PCM_EXPORT int nftw(const char *name, __nftw_func_t visit, int fds, int flags)
{
    tree_t mine = {.visit = visit, .enters = (flags & FTW_CHDIR) != 0};
    WALK(mine, PCM_REAL(nftw)(name, on_visit, fds, flags))
}

PCM_EXPORT int
nftw64(const char *name, __nftw64_func_t visit, int fds, int flags)
{
    tree_t mine = {.visit64 = visit, .enters = (flags & FTW_CHDIR) != 0};
    WALK(mine, PCM_REAL(nftw64)(name, on_visit64, fds, flags))
}

static void
on_entry(const char *name, int kind)
{
    pcm_forget_cwd();
    if (kind == FTS_D)
        pcm_on_listed(AT_FDCWD, name);
    else if (kind != FTS_DP && kind != FTS_ERR && kind != FTS_NS && kind != FTS_DNR)
        pcm_on_look(AT_FDCWD, name, kind == FTS_F, NULL);
}

PCM_EXPORT FTSENT *
fts_read(FTS *stream)
{
    FTSENT *entry = PCM_REAL(fts_read)(stream);

    if (entry != NULL)
        on_entry(entry->fts_accpath, entry->fts_info);
    return entry;
}

PCM_EXPORT FTSENT64 *
fts64_read(FTS64 *stream)
{
    FTSENT64 *entry = PCM_REAL(fts64_read)(stream);

    if (entry != NULL)
        on_entry(entry->fts_accpath, entry->fts_info);
    return entry;
}

/* The directory that the first `size` bytes of a pattern, or of what it matches, lie in was read. */
static void
on_searched(const char *name, size_t size)
{
    char *directory;

    while (size > 0 && name[size - 1] != '/')
        size--;
    if (size >= PCM_PATH_MAX || (directory = pcm_scratch_acquire()) == NULL)
        return;
    memcpy(directory, size == 0 ? "." : name, size == 0 ? 1 : size);
    directory[size == 0 ? 1 : size] = '\0';
    pcm_on_listed(AT_FDCWD, directory);
    pcm_scratch_release(directory);
}

static int
on_glob(int failed, const char *pattern, int flags, char **names, size_t count)
{
    size_t plain = 0;

    if ((flags & GLOB_ALTDIRFUNC) != 0 || (failed && failed != GLOB_NOMATCH) ||
        !atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return failed;
    while (pattern[plain] != '\0' && strchr("*?[{~\\", pattern[plain]) == NULL)
        plain++;
    if (pattern[plain] != '\0')
        on_searched(pattern, plain);
    for (size_t i = 0; !failed && i < count; i++) {
        if (pattern[plain] != '\0')
            on_searched(names[i], strlen(names[i]));
        pcm_on_look(AT_FDCWD, names[i], true, NULL);
    }
    return failed;
}

PCM_EXPORT int
glob(const char *restrict pattern, int flags, int (*on_error)(const char *, int),
     glob_t *restrict found)
{
    int failed = PCM_REAL(glob)(pattern, flags, on_error, found);

    return on_glob(failed, pattern, flags,
                   failed ? NULL : found->gl_pathv + ((flags & GLOB_DOOFFS) ? found->gl_offs : 0),
                   failed ? 0 : found->gl_pathc);
}

PCM_EXPORT int
glob64(const char *restrict pattern, int flags, int (*on_error)(const char *, int),
       glob64_t *restrict found)
{
    int failed = PCM_REAL(glob64)(pattern, flags, on_error, found);

    return on_glob(failed, pattern, flags,
                   failed ? NULL : found->gl_pathv + ((flags & GLOB_DOOFFS) ? found->gl_offs : 0),
                   failed ? 0 : found->gl_pathc);
}
