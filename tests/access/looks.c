/* looks.c - looks at files in every way that libc has, each at files of its own.
 *
 * The test prepares the directory: for each case a file, a directory with a file, and a link to
 * each; the case is the prefix of their names. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static int failures;

#define CHECK(expression)                                                                          \
    do {                                                                                           \
        if (!(expression)) {                                                                       \
            failures++;                                                                            \
            fprintf(stderr, "%s\n", #expression);                                                  \
        }                                                                                          \
    } while (0)

static int
each(const char *name, const struct stat *status, int kind)
{
    return name == NULL || status == NULL || kind < 0;
}

static int
visit(const char *name, const struct stat *status, int kind, struct FTW *where)
{
    return each(name, status, kind) || where->level < 0;
}

static void
status(void)
{
    struct stat found;
    struct stat64 found64;
    struct statx more;

    CHECK(stat("stat.file", &found) == 0 && S_ISREG(found.st_mode));
    CHECK(stat("stat.dir", &found) == 0 && S_ISDIR(found.st_mode));
    CHECK(stat64("stat64.to-file", &found64) == 0 && S_ISREG(found64.st_mode));
    CHECK(lstat("lstat.to-dir", &found) == 0 && S_ISLNK(found.st_mode));
    CHECK(lstat64("lstat64.file", &found64) == 0);
    CHECK(fstatat(AT_FDCWD, "fstatat.to-dir/inner", &found, 0) == 0);
    CHECK(fstatat64(AT_FDCWD, "fstatat64.to-file", &found64, AT_SYMLINK_NOFOLLOW) == 0);
    CHECK(statx(AT_FDCWD, "statx.file", 0, STATX_SIZE, &more) == 0);
    CHECK(syscall(SYS_statx, AT_FDCWD, "syscall.file", 0, STATX_SIZE, &more) == 0);
    CHECK(stat("absent.file", &found) == -1);
    CHECK(syscall(SYS_newfstatat, AT_FDCWD, (char *)8, &found, 0) == -1);
    CHECK(stat((char *)8, &found) == -1 && lstat((char *)8, &found) == -1);
    CHECK(access((char *)8, R_OK) == -1 && chdir((char *)8) == -1);
}

static void
rights(void)
{
    struct statfs space;
    struct statvfs room;
    char text[PATH_MAX], *name;
    int watches = inotify_init(), directory = open("at.dir", O_RDONLY | O_DIRECTORY);

    CHECK(access("access.to-file", R_OK) == 0);
    CHECK(faccessat(directory, "inner", R_OK, 0) == 0);
    CHECK(euidaccess("euidaccess.file", R_OK) == 0);
    CHECK(eaccess("eaccess.file", R_OK) == 0);
    CHECK(readlink("readlink.to-file", text, sizeof(text)) > 0);
    CHECK(readlinkat(AT_FDCWD, "readlinkat.to-dir", text, sizeof(text)) > 0);
    CHECK(realpath("realpath.to-dir/inner", text) == text);
    CHECK((name = canonicalize_file_name("canonical.to-file")) != NULL);
    free(name);
    CHECK(inotify_add_watch(watches, "inotify.to-file", IN_MODIFY) >= 0);
    CHECK(statfs("statfs.file", &space) == 0);
    CHECK(statvfs("statvfs.file", &room) == 0);
    CHECK(listxattr("listxattr.to-file", text, sizeof(text)) >= 0);
    CHECK(llistxattr("llistxattr.file", text, sizeof(text)) >= 0);
    CHECK(open("path.to-file", O_PATH) >= 0);
    CHECK(access("absent.file", R_OK) == -1);
}

static void
directories(void)
{
    struct dirent **entries;
    DIR *directory = opendir("opendir.to-dir");
    glob_t found;
    char made[] = "mkdtemp.XXXXXX", *const roots[] = {"fts.dir", NULL};
    FTS *tree;
    int at = open("fdopendir.dir", O_RDONLY);

    CHECK(directory != NULL && closedir(directory) == 0);
    CHECK((directory = fdopendir(at)) != NULL && closedir(directory) == 0);
    CHECK(scandir("scandir.dir", &entries, NULL, alphasort) == 3);
    CHECK(ftw("ftw.dir", each, 5) == 0);
    CHECK(nftw("nftw.dir", visit, 5, FTW_PHYS | FTW_CHDIR) == 0);
    CHECK((tree = fts_open(roots, FTS_PHYSICAL, NULL)) != NULL);
    while (fts_read(tree) != NULL)
        continue;
    CHECK(fts_close(tree) == 0);
    CHECK(glob("glob.d*/in*", 0, NULL, &found) == 0 && found.gl_pathc == 1);
    CHECK(mkdir("mkdir.made", 0700) == 0);
    CHECK(mkdirat(AT_FDCWD, "mkdirat.made", 0700) == 0);
    CHECK(mkdtemp(made) == made && rename(made, "mkdtemp.made") == 0);
    CHECK(syscall(SYS_mkdirat, AT_FDCWD, "raw.made", 0700) == 0);
    CHECK(rmdir("raw.made") == 0);
    CHECK(symlink("stat.file", "symlink.made") == 0);
    CHECK(chdir("chdir.to-dir") == 0 && access("inner", R_OK) == 0);
}

int
main(void)
{
    status();
    rights();
    directories();
    return failures;
}
