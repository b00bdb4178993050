/* nameless.c - files that get a name after they were opened, or lose the one they were opened by;
 * what the monitor learnt a moment ago no longer counts when they are written. */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void
put(int fd, const char *text, size_t size)
{
    if (write(fd, text, size) != (ssize_t)size)
        err(1, "write");
}

static int
nameless(void)
{
    int fd = open(".", O_TMPFILE | O_RDWR, 0600);

    if (fd < 0)
        err(1, "O_TMPFILE");
    put(fd, "early", 5);
    return fd;
}

/* Another process gives the name, and this one cannot know it. */
static void
named_by_another(void)
{
    int fd = nameless();
    char name[64];

    snprintf(name, sizeof(name), "/proc/%d/fd/%d", getpid(), fd);
    if (fork() == 0)
        _exit(linkat(AT_FDCWD, name, AT_FDCWD, "by-another", AT_SYMLINK_FOLLOW) != 0);
    wait(NULL);
    nanosleep(&(struct timespec){.tv_nsec = 150000000}, NULL);
    put(fd, "late", 4);
}

int
main(int count, char **values)
{
    (void)values;
    if (count > 1) {
        named_by_another();
        return 0;
    }
    int first = nameless(), second = nameless(), other = dup(second), third;
    char name[64];

    snprintf(name, sizeof(name), "/proc/self/fd/%d", first);
    if (linkat(AT_FDCWD, name, AT_FDCWD, "by-proc", AT_SYMLINK_FOLLOW) != 0)
        err(1, "linkat");
    if (linkat(second, "", AT_FDCWD, "by-descriptor", AT_EMPTY_PATH) != 0)
        err(1, "linkat of a descriptor");
    put(first, "now", 3);
    third = open("old-name", O_RDWR | O_CREAT, 0600);
    if (link("old-name", "new-name") != 0 || unlink("old-name") != 0)
        err(1, "link");
    nanosleep(&(struct timespec){.tv_nsec = 150000000}, NULL);
    put(first, "late", 4);
    put(other, "late", 4);
    put(third, "late", 4);
    return 0;
}
