/* calls_cost.c - times one kind of call: nanoseconds per 64-byte pwrite, or per open and close. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double
now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

int
main(int argc, char **argv)
{
    char data[64] = {0};
    int count = argc == 3 ? atoi(argv[2]) : 0;
    double start;

    if (count <= 0)
        return 2;
    int fd = open("cost", O_RDWR | O_CREAT, 0600);
    if (pwrite(fd, data, sizeof(data), 0) != sizeof(data))
        return 1;
    start = now();
    for (int i = 0; i < count; i++) {
        if (strcmp(argv[1], "open") == 0)
            close(open("cost", O_RDONLY));
        else if (pwrite(fd, data, sizeof(data), 0) != sizeof(data))
            return 1;
    }
    printf("%.1f\n", (now() - start) / count);
    return 0;
}
