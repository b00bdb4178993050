/* What a program sees of its own descriptors, one case per run: lowest, numbers, fills, listed. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUNDS 1000

static int failures;

static void
expect(int holds, const char *what)
{
    if (!holds && failures++ < 5)
        fprintf(stderr, "%s\n", what);
}

/* New files, which the monitor must report each: whatever it opens for that is not seen. */
static void
make(const char *kind, int number)
{
    char name[64];
    int fd;

    snprintf(name, sizeof(name), "%s-%d", kind, number % 500);
    fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    expect(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0, "a file could not be made");
}

/* A program of one thread gets the lowest number, and keeps what it put under a number. */
static void
lowest(void)
{
    struct stat status;
    int fd;

    for (int i = 0; i < ROUNDS; i++) {
        make("lowest", i);
        close(0);
        expect(open("/dev/null", O_RDONLY) == 0, "open gave another number than the lowest");
        fd = open("kept", O_CREAT | O_WRONLY | O_TRUNC, 0600);
        expect(dup2(fd, 4) == 4 && write(4, "x", 1) == 1, "what was put under 4 is not there");
        expect(fstat(4, &status) == 0 && status.st_size == 1, "foreign bytes under 4");
        expect(close(4) == 0 && close(fd) == 0, "what was put under 4 was closed");
    }
}

/* The same while other threads make files: the numbers are above theirs. */
static void *
make_many(void *argument)
{
    for (int i = 0; i < ROUNDS / 4; i++)
        make(argument, i);
    return NULL;
}

static void
numbers(void)
{
    pthread_t threads[2];
    struct stat status;

    pthread_create(&threads[0], NULL, make_many, "first");
    pthread_create(&threads[1], NULL, make_many, "second");
    for (int i = 0; i < ROUNDS; i++) {
        int fd = open("kept", O_CREAT | O_WRONLY | O_TRUNC, 0600), number = 16 + i % 2000;
        if (number >= (int)sysconf(_SC_OPEN_MAX))
            number = 16;
        expect(dup2(fd, number) == number && write(number, "x", 1) == 1, "lost what was put there");
        expect(fstat(number, &status) == 0 && status.st_size == 1, "foreign bytes");
        expect(close(number) == 0 && close(fd) == 0, "closed by somebody else");
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

/* Every number below the limit is the program's, without a hole. */
static void
fills(void)
{
    struct rlimit limit;
    int last = 2, fd;

    for (fd = 3; fd < 64; fd++)
        close(fd);
    make("before", 0);
    getrlimit(RLIMIT_NOFILE, &limit);
    while ((fd = dup(0)) >= 0) {
        expect(fd == last + 1, "a hole");
        last = fd;
    }
    expect(errno == EMFILE && last == (int)limit.rlim_cur - 1, "not all numbers are usable");
    close(last);
    make("after", 0);
}

/* What a walk over all numbers and a listing show. */
static void
listed(void)
{
    struct stat status;
    struct dirent *entry;
    DIR *directory = opendir("/proc/self/fd");
    int stat_count = 0, flag_count = 0, listed_count = 0;

    for (int fd = 0; fd < 5000; fd++) {
        stat_count += fstat(fd, &status) == 0;
        flag_count += fcntl(fd, F_GETFD) >= 0;
    }
    while ((entry = readdir(directory)) != NULL)
        listed_count += entry->d_name[0] != '.';
    closedir(directory);
    expect(stat_count == 4 && flag_count == 4 && listed_count == 4,
           "a descriptor that was never opened");
}

/* Rights are given up, the pipe loses its reader: no signal comes, none waits. */
static void
drops(void)
{
    sigset_t set, waiting;

    expect(setgid(65534) == 0 && setuid(65534) == 0, "setuid");
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    for (int i = 0; i < 50; i++) {
        make("dropped", i);
        usleep(10000);
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    make("blocked", 0);
    expect(sigpending(&waiting) == 0 && !sigismember(&waiting, SIGPIPE), "SIGPIPE waits");
}

int
main(int count, char **values)
{
    const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {
        {"lowest", lowest}, {"numbers", numbers}, {"fills", fills},
        {"listed", listed}, {"drops", drops},
    };

    for (size_t i = 0; count > 1 && i < sizeof(cases) / sizeof(cases[0]); i++)
        if (strcmp(values[1], cases[i].name) == 0)
            cases[i].run();
    return failures != 0;
}
