/* calls_cost.c - times one kind of call twice, in turns: past the access monitor, straight into
 * libc, and through whatever stands in front of it.
 *
 * Prints nanoseconds per call of the two ways and the median of the blocks' ratios.  The call is a
 * 64-byte pwrite, an open and close, a stat, or an access.  Without a monitor the ratio is 1, which tells how far it
 * can be trusted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 100

typedef struct {
    int (*open)(const char *, int, ...);
    int (*close)(int);
    ssize_t (*pwrite)(int, const void *, size_t, off_t);
    int (*stat)(const char *, struct stat *);
    int (*access)(const char *, int);
} calls_t;

static double
now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* One call; `kind` is the first letter of its name.  Returns whether it failed. */
static int
call(const volatile calls_t *calls, char kind, int fd)
{
    static const char data[64];
    struct stat status;

    switch (kind) {
    case 'o':
        return calls->close(calls->open("cost", O_RDONLY));
    case 's':
        return calls->stat("cost", &status);
    case 'a':
        return calls->access("cost", R_OK);
    default:
        return calls->pwrite(fd, data, sizeof(data), 0) != sizeof(data);
    }
}

/* Nanoseconds per call of a block of them. */
static double
block(const volatile calls_t *calls, char kind, int fd)
{
    double start = now();

    for (int i = 0; i < BLOCK; i++)
        if (call(calls, kind, fd))
            exit(1);
    return (now() - start) / BLOCK;
}

static int
compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return a < b ? -1 : a > b;
}

static double
median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(*values), compare);
    return values[count / 2];
}

int
main(int argc, char **argv)
{
    int blocks = argc == 3 ? atoi(argv[2]) / BLOCK : 0;
    double *times[3];
    calls_t hooked = {open, close, pwrite, stat, access}, direct;
    void *libc = dlopen("libc.so.6", RTLD_NOW);

    if (blocks <= 0 || libc == NULL)
        return 2;
    *(void **)&direct.open = dlsym(libc, "open");
    *(void **)&direct.close = dlsym(libc, "close");
    *(void **)&direct.pwrite = dlsym(libc, "pwrite");
    *(void **)&direct.stat = dlsym(libc, "stat");
    *(void **)&direct.access = dlsym(libc, "access");
    int fd = open("cost", O_RDWR | O_CREAT, 0600);
    for (int i = 0; i < 3; i++)
        times[i] = malloc((size_t)blocks * sizeof(double));
    block(&direct, argv[1][0], fd);
    block(&hooked, argv[1][0], fd);
    for (int i = 0; i < blocks; i++) {
        times[0][i] = block(&direct, argv[1][0], fd);
        times[1][i] = block(&hooked, argv[1][0], fd);
        times[2][i] = times[1][i] / times[0][i];
    }
    printf("%.1f %.1f %.4f\n", median(times[0], blocks), median(times[1], blocks),
           median(times[2], blocks));
    return 0;
}
