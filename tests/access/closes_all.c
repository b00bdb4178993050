/* closes_all.c - closes every descriptor in one of many ways, takes every number again, and writes
 * its own number into each file: what the files hold afterwards tells who else wrote into them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static void
close_all(const char *way)
{
    if (strcmp(way, "range") == 0)
        close_range(3, ~0u, 0);
    else if (strcmp(way, "from") == 0)
        closefrom(3);
    else if (strcmp(way, "loop") == 0)
        for (int fd = 3; fd < 1100; fd++)
            close(fd);
    else if (strcmp(way, "syscall") == 0)
        for (int fd = 3; fd < 1100; fd++)
            syscall(SYS_close, fd);
    else if (strcmp(way, "inline") == 0)
        for (long fd = 3; fd < 1100; fd++) {
#ifdef __x86_64__
            long result;
            __asm__ volatile("syscall"
                             : "=a"(result)
                             : "a"(SYS_close), "D"(fd)
                             : "rcx", "r11", "memory");
#endif
        }
}

int
main(int argc, char **argv)
{
    struct rlimit limit = {4096, 4096};
    char name[64], text[64];

    if (argc != 2 || setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 2;
    close_all(argv[1]);
    for (int i = 0; i < 1100; i++) {
        snprintf(name, sizeof(name), "file-%d", i);
        int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (strcmp(argv[1], "dup2") == 0 && i == 0)
            for (int target = 500; target < 1100; target++)
                dup2(fd, target);
        if (strcmp(argv[1], "dup2") == 0 && i >= 300)
            break;
        int size = snprintf(text, sizeof(text), "file %d\n", i);
        for (int again = 0; again < 3; again++)
            if (write(fd, text, (size_t)size) != size)
                return 3;
    }
    puts("done");
    return 0;
}
