/* asks.c - writes that are asked for, one at a time and in lists, of the C library and the kernel. */
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* libaio's, if somebody has it. */
int
io_submit(aio_context_t context, long count, struct iocb **requests) __attribute__((weak));

static char data[1000];

static int
make(const char *name)
{
    return open(name, O_RDWR | O_CREAT, 0600);
}

static void
check(int holds, int number)
{
    if (!holds)
        exit(number);
}

static void
lists(void)
{
    struct aiocb write = {.aio_fildes = make("list"), .aio_buf = data, .aio_nbytes = 300};
    struct aiocb other = write, read = write, refused = write;
    struct aiocb *list[] = {&write, NULL, &read, &other};
    struct aiocb64 large = {.aio_fildes = make("list-64"), .aio_buf = data, .aio_nbytes = 50};
    struct aiocb64 *large_list[] = {&large};

    write.aio_lio_opcode = other.aio_lio_opcode = refused.aio_lio_opcode = LIO_WRITE;
    other.aio_offset = 300;
    read.aio_lio_opcode = LIO_READ;
    check(lio_listio(LIO_WAIT, list, 4, NULL) == 0, 2);
    list[0] = &refused;
    refused.aio_fildes = open("list", O_RDONLY);
    lio_listio(LIO_WAIT, list, 1, NULL);
    large.aio_lio_opcode = LIO_WRITE;
    check(lio_listio64(LIO_WAIT, large_list, 1, NULL) == 0, 3);
}

static void
await(aio_context_t context, long count)
{
    struct io_event events[4];

    for (long got = 0; got < count;) {
        long more = syscall(SYS_io_getevents, context, 1, 4, events, NULL);
        check(more > 0, 4);
        for (long i = 0; i < more; i++)
            check((long)events[i].res > 0, 5);
        got += more;
    }
}

static void
kernel(void)
{
    struct iovec parts[2] = {{data, 10}, {data, 20}};
    struct iocb whole = {.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_nbytes = 400};
    struct iocb split = {.aio_lio_opcode = IOCB_CMD_PWRITEV, .aio_nbytes = 2, .aio_offset = 400};
    struct iocb read = {.aio_lio_opcode = IOCB_CMD_PREAD, .aio_nbytes = 100};
    struct iocb *requests[] = {&whole, &split, &read};
    aio_context_t context = 0;

    whole.aio_fildes = split.aio_fildes = read.aio_fildes = (uint32_t)make("kernel");
    whole.aio_buf = read.aio_buf = (uintptr_t)data;
    split.aio_buf = (uintptr_t)parts;
    check(ftruncate((int)whole.aio_fildes, 100) == 0, 6);
    check(syscall(SYS_io_setup, 8, &context) == 0, 7);
    check(syscall(SYS_io_submit, context, 3, requests) == 3, 8);
    await(context, 3);
    if (io_submit != NULL)
        check(io_submit(context, 1, requests) == 1, 9);
    else
        check(syscall(SYS_io_submit, context, 1, requests) == 1, 9);
    await(context, 1);
}

int
main(void)
{
    lists();
    kernel();
    return 0;
}
