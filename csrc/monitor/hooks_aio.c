/* hooks_aio.c - writes that are asked for now and done later: POSIX's by libc's own threads, the
 * kernel's by the kernel.
 *
 * Invariants: a request is read before it is handed over, since it may be gone by the time the call
 * returns, and never faster than the kernel would fault on it; it counts as a write of all its bytes
 * once it was accepted.  What goes through io_uring is known to nobody but the kernel: the log is
 * incomplete from the making of the ring on. */
#define _GNU_SOURCE
#include <aio.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fds.h"
#include "hooks.h"
#include "readable.h"
#include "real.h"
#include "report.h"
#include "state.h"
#include "sys.h"

#include "rules.h"

struct io_context;
struct io_uring;
struct io_uring_params;

int
io_submit(struct io_context *context, long count, struct iocb **requests);
int
io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int
io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *how);
int
io_uring_queue_init_mem(unsigned entries, struct io_uring *ring, struct io_uring_params *how,
                        void *memory, size_t size);
int
io_uring_setup(unsigned entries, struct io_uring_params *how);

static bool
is_active(void)
{
    return atomic_load_explicit(&pcm_active, memory_order_relaxed);
}

PCM_EXPORT int
aio_write(struct aiocb *request)
{
    int fd = request->aio_fildes;
    size_t size = request->aio_nbytes;
    int failed = PCM_REAL(aio_write)(request);

    if (!failed)
        pcm_wrote(fd, (long)size);
    return failed;
}

PCM_EXPORT int
aio_write64(struct aiocb64 *request)
{
    int fd = request->aio_fildes;
    size_t size = request->aio_nbytes;
    int failed = PCM_REAL(aio_write64)(request);

    if (!failed)
        pcm_wrote(fd, (long)size);
    return failed;
}

/* A list may be done in part even if the call fails, and is the application's again when all is
 * done: it is counted when it is asked for.  */
#define COUNT_LIST(list, count)                                                                    \
    for (int i = 0; i < (count) && is_active(); i++)                                               \
        if ((list)[i] != NULL && (list)[i]->aio_lio_opcode == LIO_WRITE &&                         \
            pcm_is_writable((list)[i]->aio_fildes))                                                \
            pcm_wrote((list)[i]->aio_fildes, (long)(list)[i]->aio_nbytes);

static bool
pcm_is_writable(int fd)
{
    long flags = pcm_sys_fcntl(fd, F_GETFL, 0);

    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

PCM_EXPORT int
lio_listio(int mode, struct aiocb *const list[], int count, struct sigevent *event)
{
    if (mode == LIO_WAIT || mode == LIO_NOWAIT)
        COUNT_LIST(list, count)
    return PCM_REAL(lio_listio)(mode, list, count, event);
}

PCM_EXPORT int
lio_listio64(int mode, struct aiocb64 *const list[], int count, struct sigevent *event)
{
    if (mode == LIO_WAIT || mode == LIO_NOWAIT)
        COUNT_LIST(list, count)
    return PCM_REAL(lio_listio64)(mode, list, count, event);
}

/* What a request to the kernel will write. */
static uint64_t
bytes_of(const struct iocb *request)
{
    struct iovec part;
    uint64_t bytes = 0;

    if (request->aio_lio_opcode == IOCB_CMD_PWRITE)
        return request->aio_nbytes;
    if (request->aio_lio_opcode == IOCB_CMD_PWRITEV)
        for (uint64_t i = 0; i < request->aio_nbytes && i < IOV_MAX; i++)
            if (pcm_copy_in(&part, (const struct iovec *)(uintptr_t)request->aio_buf + i,
                            sizeof(part)))
                bytes += part.iov_len;
    return bytes;
}

/* What is left of a list of requests to the kernel, when it is about to be handed over. */
typedef struct {
    int fd;
    uint64_t bytes;
} pcm_submitted_t;

#define MOST_SUBMITTED (PCM_PATH_MAX / sizeof(pcm_submitted_t))

static long
read_requests(long count, struct iocb *const *requests, pcm_submitted_t *out)
{
    struct iocb *at, request;
    long read = 0;

    for (; read < count && read < (long)MOST_SUBMITTED; read++) {
        if (!pcm_copy_in(&at, requests + read, sizeof(at)) ||
            !pcm_copy_in(&request, at, sizeof(request)))
            break;
        out[read].fd = (int)request.aio_fildes;
        out[read].bytes = bytes_of(&request);
    }
    return read;
}

/* Hand requests over to the kernel; `result` is its answer. */
static long
submit(struct io_context *context, long count, struct iocb **requests)
{
    pcm_submitted_t *read = is_active() ? (void *)pcm_scratch_acquire() : NULL;
    long known = read == NULL ? 0 : read_requests(count, requests, read);
    long taken = pcm_sys(SYS_io_submit, (long)context, count, (long)requests, 0, 0, 0);

    for (long i = 0; i < taken && i < known; i++)
        pcm_wrote(read[i].fd, (long)read[i].bytes);
    if (read != NULL && taken > known) /* more than fit, or what may not be read */
        pcm_mark_lost(PCM_LOST_MEMORY);
    if (read != NULL)
        pcm_scratch_release((char *)read);
    return taken;
}

/* libaio's function makes the call by itself, too, and returns what the kernel said. */
PCM_EXPORT int
io_submit(struct io_context *context, long count, struct iocb **requests)
{
    return (int)submit(context, count, requests);
}

/* The same through syscall(). */
long
pcm_submit(const long a[6])
{
    long taken = submit((void *)(uintptr_t)a[0], a[1], (void *)(uintptr_t)a[2]);

    if (taken >= 0)
        return taken;
    errno = (int)-taken;
    return -1;
}

/* A ring was made. */
static int
ring_made(int result)
{
    if (result >= 0 && is_active())
        pcm_mark_lost(PCM_LOST_RING);
    return result;
}

/* liburing's function, which may be seen by nobody but the library that was loaded with it. */
static void
find_in_liburing(const char *name, void *pointer)
{
    static const char *const names[] = {"liburing.so.2", "liburing.so.1", "liburing-ffi.so.2"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        void *library = dlopen(names[i], RTLD_LAZY | RTLD_NOLOAD);
        void *address = library == NULL ? NULL : dlsym(library, name);
        if (library != NULL)
            dlclose(library);
        if (address != NULL) {
            memcpy(pointer, &address, sizeof(address));
            return;
        }
    }
}

#define RING(name, call)                                                                           \
    if (PCM_REAL(name) == NULL)                                                                    \
        find_in_liburing(#name, (void *)&pcm_real.name);                                           \
    return pcm_real.name == NULL ? -ENOSYS : ring_made(pcm_real.name call);

PCM_EXPORT int
io_uring_queue_init(unsigned entries, struct io_uring *ring,
                    unsigned flags){RING(io_uring_queue_init, (entries, ring, flags))}

PCM_EXPORT int io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                                          struct io_uring_params *how){
    RING(io_uring_queue_init_params, (entries, ring, how))}

PCM_EXPORT int io_uring_queue_init_mem(unsigned entries, struct io_uring *ring,
                                       struct io_uring_params *how, void *memory, size_t size){
    RING(io_uring_queue_init_mem, (entries, ring, how, memory, size))}

PCM_EXPORT int io_uring_setup(unsigned entries, struct io_uring_params *how)
{
    RING(io_uring_setup, (entries, how))
}

/* One was made through syscall(). */
void
pcm_on_ring(void)
{
    ring_made(0);
}
