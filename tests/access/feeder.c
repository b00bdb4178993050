/* feeder.c - writes `count` times one byte to each of `files` files, `processes` times over.
 *
 * With PRECOPY_INTERVAL_MS=0 every write is a record: so many events for the tracker. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
    int processes = atoi(argv[1]), files = atoi(argv[2]), count = atoi(argv[3]);
    int fds[1000];
    char name[64];

    if (argc != 4 || files > 1000)
        return 2;
    for (int p = 0; p < processes; p++) {
        if (fork() != 0)
            continue;
        for (int f = 0; f < files; f++) {
            snprintf(name, sizeof(name), "fed-%d", f);
            fds[f] = open(name, O_WRONLY | O_CREAT | O_APPEND, 0600);
        }
        for (int i = 0; i < count; i++)
            for (int f = 0; f < files; f++)
                if (write(fds[f], "x", 1) != 1)
                    _exit(1);
        _exit(0);
    }
    int status, failed = 0;
    while (wait(&status) > 0)
        failed |= status != 0;
    return failed;
}
