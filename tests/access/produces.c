/* produces.c - everything that puts bytes into a stream or a descriptor of the C library's.
 *
 * produces FD ...: one child per way, whose standard output and error are the descriptor of the
 * same place. */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <grp.h>
#include <gshadow.h>
#include <locale.h>
#include <pwd.h>
#include <shadow.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wchar.h>

#define MANY(call)                                                                                 \
    for (int i = 0; i < 9000; i++)                                                                 \
    call

static void
list_wide(const wchar_t *format, ...)
{
    va_list list;

    va_start(list, format);
    vwprintf(format, list);
    va_end(list);
}

static void
produce(int way)
{
    static struct passwd passwd = {"name", "x", 1, 2, "gecos", "/", "/bin/sh"};
    static struct spwd spwd = {"name", "x", 1, 2, 3, 4, 5, 6, 7};
    static char *none[] = {NULL};
    static struct group group = {"name", "x", 1, none};
    static struct sgrp sgrp = {"name", "x", none, none};

    switch (way) {
        /* clang-format off */
    case 0: MANY(putwc(L'\x20ac', stdout)); break;
    case 1: putwchar(L'x'); break;
    case 2: fputwc_unlocked(L'x', stdout); break;
    case 3: MANY(putwc_unlocked(L'x', stdout)); break;
    case 4: putwchar_unlocked(L'x'); break;
    case 5: fputws_unlocked(L"text", stdout); break;
    case 6: MANY(wprintf(L"%d\n", i)); break;
    case 7: fwprintf(stdout, L"%d\n", way); break;
    case 8: list_wide(L"%d\n", way); break;
    case 9: fputws(L"text", stdout); break;
    case 10: putwchar(L'x'); fflush(NULL); wprintf(L"%d", way); break;
    case 11: putwchar(L'x'); fclose(stdout); break;
    case 12: MANY(putw(i, stdout)); break;
    case 13: MANY(putpwent(&passwd, stdout)); break;
    case 14: MANY(putgrent(&group, stdout)); break;
    case 15: MANY(putspent(&spwd, stdout)); break;
    case 16: MANY(putsgent(&sgrp, stdout)); break;
    case 17: errno = 0; perror("text"); break;
    case 18: warnx("%d", way); break;
    case 19: dprintf(1, "%d\n", way); break;
    case 20: puts("text"); break;
    case 21: MANY(printf("%d\n", i)); break;
    default: break;
        /* clang-format on */
    }
}

int
main(int argc, char **argv)
{
    int status, failed = 0;

    setlocale(LC_ALL, "C.UTF-8");
    for (int way = 0; way < argc - 1; way++) {
        if (fork() == 0) {
            dup2(atoi(argv[way + 1]), 1);
            dup2(atoi(argv[way + 1]), 2);
            produce(way);
            exit(0);
        }
        wait(&status);
        failed |= status;
    }
    return failed != 0;
}
