/* hooks_write.c - whatever changes a file's content through a descriptor.
 *
 * Invariant: only what the kernel said was written is counted, after the call, one call as one
 * write. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/fscrypt.h>
#include <linux/fsverity.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "fds.h"
#include "hooks.h"
#include "names.h"
#include "real.h"
#include "slots.h"
#include "sys.h"
#include "wire.h"

#include "rules.h"

int
__dprintf_chk(int fd, int flag, const char *format, ...);
int
__vdprintf_chk(int fd, int flag, const char *format, va_list arguments);

static ssize_t
wrote(int fd, ssize_t bytes)
{
    pcm_wrote(fd, bytes);
    return bytes;
}

/* `failed` is what a call returned that says 0 for success. */
static int
changed(int fd, int failed)
{
    if (!failed)
        pcm_changed(fd);
    return failed;
}

PCM_EXPORT ssize_t
write(int fd, const void *data, size_t size)
{
    return wrote(fd, PCM_REAL(write)(fd, data, size));
}

PCM_EXPORT ssize_t
pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return wrote(fd, PCM_REAL(pwrite)(fd, data, size, offset));
}

PCM_EXPORT ssize_t
pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    return wrote(fd, PCM_REAL(pwrite64)(fd, data, size, offset));
}

PCM_ALIAS(__write, write)
PCM_ALIAS(__pwrite64, pwrite64)
PCM_ALIAS(__libc_pwrite, pwrite)

PCM_EXPORT ssize_t
writev(int fd, const struct iovec *parts, int count)
{
    return wrote(fd, PCM_REAL(writev)(fd, parts, count));
}

PCM_EXPORT ssize_t
pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return wrote(fd, PCM_REAL(pwritev)(fd, parts, count, offset));
}

PCM_EXPORT ssize_t
pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return wrote(fd, PCM_REAL(pwritev64)(fd, parts, count, offset));
}

PCM_EXPORT ssize_t
pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    return wrote(fd, PCM_REAL(pwritev2)(fd, parts, count, offset, flags));
}

PCM_EXPORT ssize_t
pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags)
{
    return wrote(fd, PCM_REAL(pwritev64v2)(fd, parts, count, offset, flags));
}

PCM_EXPORT ssize_t
copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags)
{
    return wrote(out, PCM_REAL(copy_file_range)(in, in_at, out, out_at, size, flags));
}

PCM_EXPORT ssize_t
sendfile(int out, int in, off_t *offset, size_t size)
{
    return wrote(out, PCM_REAL(sendfile)(out, in, offset, size));
}

PCM_EXPORT ssize_t
sendfile64(int out, int in, off64_t *offset, size_t size)
{
    return wrote(out, PCM_REAL(sendfile64)(out, in, offset, size));
}

PCM_EXPORT ssize_t
splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags)
{
    return wrote(out, PCM_REAL(splice)(in, in_at, out, out_at, size, flags));
}

PCM_EXPORT int
vdprintf(int fd, const char *format, va_list arguments)
{
    return (int)wrote(fd, PCM_REAL(vdprintf)(fd, format, arguments));
}

PCM_EXPORT int
__vdprintf_chk(int fd, int flag, const char *format, va_list arguments)
{
    return (int)wrote(fd, PCM_REAL(__vdprintf_chk)(fd, flag, format, arguments));
}

PCM_EXPORT int
dprintf(int fd, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    int size = vdprintf(fd, format, arguments);
    va_end(arguments);
    return size;
}

PCM_EXPORT int
__dprintf_chk(int fd, int flag, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    int size = __vdprintf_chk(fd, flag, format, arguments);
    va_end(arguments);
    return size;
}

PCM_EXPORT int
truncate(const char *path, off_t size)
{
    int failed = PCM_REAL(truncate)(path, size);

    if (!failed)
        pcm_on_target(AT_FDCWD, path, 0, (pcm_event_t){.use = PCM_WRITE, .changes = 1});
    return failed;
}

PCM_EXPORT int
truncate64(const char *path, off64_t size)
{
    int failed = PCM_REAL(truncate64)(path, size);

    if (!failed)
        pcm_on_target(AT_FDCWD, path, 0, (pcm_event_t){.use = PCM_WRITE, .changes = 1});
    return failed;
}

PCM_EXPORT int
ftruncate(int fd, off_t size)
{
    return changed(fd, PCM_REAL(ftruncate)(fd, size));
}

PCM_EXPORT int
ftruncate64(int fd, off64_t size)
{
    return changed(fd, PCM_REAL(ftruncate64)(fd, size));
}

PCM_EXPORT int
fallocate(int fd, int mode, off_t offset, off_t size)
{
    return changed(fd, PCM_REAL(fallocate)(fd, mode, offset, size));
}

PCM_EXPORT int
fallocate64(int fd, int mode, off64_t offset, off64_t size)
{
    return changed(fd, PCM_REAL(fallocate64)(fd, mode, offset, size));
}

PCM_EXPORT int
posix_fallocate(int fd, off_t offset, off_t size)
{
    return changed(fd, PCM_REAL(posix_fallocate)(fd, offset, size));
}

PCM_EXPORT int
posix_fallocate64(int fd, off64_t offset, off64_t size)
{
    return changed(fd, PCM_REAL(posix_fallocate64)(fd, offset, size));
}

/* Of the many requests, those that change a file's content or attributes. */
void
pcm_on_ioctl(int fd, unsigned long request)
{
    switch (request) {
    case FICLONE:
    case FICLONERANGE:
    case FS_IOC_SETFLAGS:
    case FS_IOC32_SETFLAGS:
    case FS_IOC_SETVERSION:
    case FS_IOC_FSSETXATTR:
    case FS_IOC_ENABLE_VERITY:
    case FS_IOC_SET_ENCRYPTION_POLICY:
        pcm_on_attributes(fd);
        break;
    default:
        break;
    }
}

PCM_EXPORT int
ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    void *argument;
    int result;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    result = PCM_REAL(ioctl)(fd, request, argument);
    if (result == 0)
        pcm_on_ioctl(fd, request);
    return result;
}

/* A mapping that is shared and may be stored into; a later mprotect may add the right. */
void
pcm_on_mmap(int fd, int protection, int flags)
{
    int type = flags & MAP_TYPE;
    long mode;

    if ((flags & MAP_ANONYMOUS) != 0 || fd < 0)
        return;
    if (type != MAP_SHARED && type != MAP_SHARED_VALIDATE)
        return;
    if ((protection & PROT_WRITE) == 0) {
        mode = pcm_sys_fcntl(fd, F_GETFL, 0);
        if (mode < 0 || (mode & O_ACCMODE) != O_RDWR)
            return;
    }
    pcm_on_fd(fd, (pcm_event_t){.use = PCM_WRITE | PCM_MAPPED});
}

PCM_EXPORT void *
mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    void *mapped = PCM_REAL(mmap)(address, size, protection, flags, fd, offset);

    if (mapped != MAP_FAILED)
        pcm_on_mmap(fd, protection, flags);
    return mapped;
}

PCM_EXPORT void *
mmap64(void *address, size_t size, int protection, int flags, int fd, off64_t offset)
{
    void *mapped = PCM_REAL(mmap64)(address, size, protection, flags, fd, offset);

    if (mapped != MAP_FAILED)
        pcm_on_mmap(fd, protection, flags);
    return mapped;
}
