/* fidelity.c - calls functions with good and bad arguments, each time in a process of its own, and
 * says what came of it: the result, errno, or the signal.
 *
 *     fidelity NAME:ARGUMENTS ...
 *
 * ARGUMENTS has a letter for each: f descriptor, p path, o other pointer, S stream, n number,
 * w format without conversions, W the same in wide characters; and first the result: i int, l long,
 * P pointer, v none.  Every argument takes its bad values in turn, the others being good. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wchar.h>

enum { FILE_FD = 20, READ_FD, DIRECTORY_FD, MOST = 6 };

typedef long
function_t(long, long, long, long, long, long);

static char memory[65536]; /* what other pointers lead to */
static FILE *stream, *read_stream;

typedef struct {
    size_t count;
    long values[8];
} choice_t;

static choice_t
choose(char kind)
{
    switch (kind) {
    case 'f':
        return (choice_t){5, {FILE_FD, -1, 9999, READ_FD, DIRECTORY_FD}};
    case 'p':
        return (choice_t){6, {(long)"file", 0, 8, -4096, (long)"nowhere/at all", (long)""}};
    case 'o':
        return (choice_t){4, {(long)memory, 0, 8, -4096}};
    case 'S':
        return (choice_t){2, {(long)stream, (long)read_stream}};
    case 'w':
        return (choice_t){2, {(long)"text", 8}};
    case 'W':
        return (choice_t){2, {(long)L"text", 8}};
    default:
        return (choice_t){4, {0, -1, 1, 0x40}};
    }
}

static void
prepare(void)
{
    struct rlimit none = {0, 0};
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);

    setrlimit(RLIMIT_CORE, &none);
    if (fd < 0 || write(fd, "content", 7) != 7 || dup2(fd, FILE_FD) < 0 ||
        dup2(open("file", O_RDONLY), READ_FD) < 0 ||
        dup2(open(".", O_RDONLY | O_DIRECTORY), DIRECTORY_FD) < 0)
        _exit(99);
    for (int low = 3; low < FILE_FD; low++)
        close(low);
    stream = fopen("streamed", "w+");
    read_stream = fopen("file", "r");
    strcpy(memory, "file");
    alarm(5);
}

/* Small numbers as they are: descriptors, sizes, errors; a pointer is there or not. */
static void
say(char kind, long result, int error)
{
    char text[64];
    int size;

    if (kind == 'i')
        result = (int)result;
    if (kind == 'v')
        result = 0;
    if (kind == 'P' && result != 0 && result != -1)
        result = 1;
    if (result < -4096 || result > 65536)
        result = 65537;
    size = snprintf(text, sizeof(text), "%ld errno %d", result, error);
    if (write(1, text, (size_t)size) != size)
        _exit(98);
}

static void
call(const char *name, char kind, function_t *function, const long a[MOST])
{
    pid_t child = fork();
    int status;

    (void)name;
    if (child == 0) {
        prepare();
        for (int i = 0; i < MOST; i++) /* the streams are the child's own */
            ((long *)(uintptr_t)a)[i] = a[i] == -3   ? (long)stream
                                        : a[i] == -4 ? (long)read_stream
                                                     : a[i];
        errno = 77;
        long result = function(a[0], a[1], a[2], a[3], a[4], a[5]);
        int error = errno;
        say(kind, result, error);
        kill(getpid(), SIGKILL); /* no handler, no buffer, nothing more */
    }
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        printf(" %s %d", WIFSIGNALED(status) ? "signal" : "exit",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    printf("\n");
    fflush(stdout);
}

static void
try(const char *name, const char *kinds)
{
    function_t *function;
    void *address = dlsym(RTLD_DEFAULT, name);
    size_t count = strlen(kinds) - 1;
    long arguments[MOST] = {0};
    choice_t choices[MOST];

    if (address == NULL) {
        printf("%s is not there\n", name);
        return;
    }
    memcpy(&function, &address, sizeof(address));
    stream = (FILE *)-3;
    read_stream = (FILE *)-4;
    for (size_t i = 0; i < count; i++)
        choices[i] = choose(kinds[i + 1]);
    for (size_t i = 0; i < (count == 0 ? 1 : count); i++)
        for (size_t value = i == 0 ? 0 : 1; value < (count == 0 ? 1 : choices[i].count); value++) {
            for (size_t j = 0; j < count; j++)
                arguments[j] = choices[j].values[j == i ? value : 0];
            printf("%s %zu.%zu: ", name, i, value);
            fflush(stdout);
            call(name, kinds[0], function, arguments);
        }
}

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *kinds = strchr(argv[i], ':');
        *kinds++ = '\0';
        try(argv[i], kinds);
    }
    return 0;
}
