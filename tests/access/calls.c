/* calls.c - writes through mappings, asynchronous requests, syscall() and fortified calls. */
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

int
__open_2(const char *path, int flags);

int
main(void)
{
    static char data[1000];
    int fd = open("mapped", O_RDWR | O_CREAT, 0600);
    struct aiocb request;
    struct iovec parts[2] = {{data, 10}, {data, 20}};

    if (ftruncate(fd, 4096) != 0)
        return 1;
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    map[0] = 1;
    close(fd);

    memset(&request, 0, sizeof(request));
    request.aio_fildes = open("aio", O_WRONLY | O_CREAT, 0600);
    request.aio_buf = data;
    request.aio_nbytes = sizeof(data);
    if (aio_write(&request) != 0)
        return 2;
    while (aio_error(&request) == EINPROGRESS)
        usleep(1000);

    fd = (int)syscall(SYS_openat, AT_FDCWD, "raw", O_WRONLY | O_CREAT, 0600);
    for (int i = 0; i < 5; i++)
        syscall(SYS_write, fd, data, 7);
    syscall(SYS_pwrite64, fd, data, 9, 100);
    syscall(SYS_close, fd);
    syscall(SYS_renameat2, AT_FDCWD, "raw", AT_FDCWD, "renamed", 0);
    syscall(SYS_linkat, AT_FDCWD, "renamed", AT_FDCWD, "raw", 0);

    fd = open("vector", O_WRONLY | O_CREAT, 0600);
    if (writev(fd, parts, 2) != 30 || pwritev(fd, parts, 2, 50) != 30 ||
        pwritev2(fd, parts, 1, -1, 0) != 10)
        return 3;
    close(fd);
    close(open("fortified", O_WRONLY | O_CREAT, 0600));
    fd = __open_2("fortified", O_WRONLY);
    if (write(fd, data, 3) != 3)
        return 4;
    close(fd);
    fd = open("dprintf", O_WRONLY | O_CREAT, 0600);
    dprintf(fd, "%d\n", 42);
    close(fd);
    return 0;
}
