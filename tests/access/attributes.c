/* attributes.c - changes attributes in every way there is, each of a file named after the call. */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

static const struct timeval timevals[2] = {{1000, 0}, {2000, 0}};
static const struct timespec timespecs[2] = {{1000, 0}, {2000, 0}};
static const struct utimbuf seconds = {1000, 2000};

static const char *now; /* the call whose turn it is */
static int fd;          /* of its file */

/* The call's own file, open to be read if `open_too`; made by another process beforehand. */
static const char *
file(const char *name)
{
    now = name;
    fd = open(name, O_RDONLY);
    if (fd < 0)
        err(2, "%s", name);
    return name;
}

static void
check(long result)
{
    if (result != 0)
        err(1, "%s", now);
    close(fd);
}

int
main(void)
{
    int here = open(".", O_RDONLY | O_DIRECTORY);

    check(chmod(file("chmod"), 0600));
    check((file("fchmod"), fchmod(fd, 0600)));
    check(fchmodat(here, file("fchmodat"), 0600, 0));
    check(chown(file("chown"), getuid(), getgid()));
    check((file("fchown"), fchown(fd, getuid(), getgid())));
    check(lchown(file("lchown"), getuid(), getgid()));
    check(fchownat(here, file("fchownat"), getuid(), getgid(), 0));
    check((file("fchownat_empty"), fchownat(fd, "", getuid(), getgid(), AT_EMPTY_PATH)));
    check(setxattr(file("setxattr"), "user.a", "b", 1, 0));
    check(lsetxattr(file("lsetxattr"), "user.a", "b", 1, 0));
    check((file("fsetxattr"), fsetxattr(fd, "user.a", "b", 1, 0)));
    check(removexattr(file("removexattr"), "user.old"));
    check(lremovexattr(file("lremovexattr"), "user.old"));
    check((file("fremovexattr"), fremovexattr(fd, "user.old")));
    check(utime(file("utime"), &seconds));
    check(utimes(file("utimes"), timevals));
    check(lutimes(file("lutimes"), timevals));
    check((file("futimes"), futimes(fd, timevals)));
    check(futimesat(here, file("futimesat"), timevals));
    check(utimensat(here, file("utimensat"), timespecs, 0));
    check((file("utimensat_fd"), (int)syscall(SYS_utimensat, fd, NULL, timespecs, 0)));
    check((file("futimens"), futimens(fd, timespecs)));
    check(syscall(SYS_fchmodat, here, file("raw_fchmodat"), 0600));
    check(syscall(SYS_setxattr, file("raw_setxattr"), "user.a", "b", 1, 0));
    check(syscall(SYS_utimensat, AT_FDCWD, file("raw_utimensat"), timespecs, 0));
    check((file("raw_fchmod"), syscall(SYS_fchmod, fd, 0600)));
    check(chmod("through", 0600)); /* a link to "target" */
    check(lchown("link", getuid(), getgid()));
    check(utimensat(AT_FDCWD, "link", timespecs, AT_SYMLINK_NOFOLLOW));
    check(chmod("directory", 0700));
    check(fchmod(open("directory", O_RDONLY), 0700));
    return 0;
}
