/* proc.c - what the kernel says of this process by way of /proc.
 *
 * Invariant: links are read, which takes no descriptor; the one file that must be opened is opened
 * out of the application's sight. */
#define _GNU_SOURCE
#include <string.h>

#include "apart.h"
#include "proc.h"
#include "state.h"
#include "sys.h"

#include "rules.h"

#define STAT_BYTES 1024

/* Read a link in /proc, into `out` of PCM_PATH_MAX bytes.  What it says begins at the root that the
 * application chose; where that lies is put before it.  Returns the size; 0: what it leads to has no
 * path, such as a namespace; or -1: the path cannot be told. */
static long
read_path(const char *link, char *out)
{
    size_t root = pcm_config.root_size;
    long size = pcm_sys_readlink(link, out + root, PCM_PATH_MAX - root);

    if (size > 0 && out[root] != '/' && out[root] != '(') /* "(unreachable)" */
        return 0;
    if (size <= 0 || out[root] != '/' || (size_t)size >= PCM_PATH_MAX - root)
        return -1;
    memcpy(out, pcm_config.root, root);
    return root > 0 && size == 1 ? (long)root : (long)root + size;
}

/* What /proc says of a descriptor of this thread, which may outlive the process's first, into `out`
 * of PCM_PATH_MAX bytes; its size, 0 or -1 as read_path. */
long
pcm_fd_path(int fd, char *out)
{
    char link[48] = "/proc/thread-self/fd/", digits[12];
    size_t end = sizeof("/proc/thread-self/fd/") - 1;
    int count = 0;

    do
        digits[count++] = (char)('0' + fd % 10);
    while ((fd /= 10) > 0);
    while (count > 0)
        link[end++] = digits[--count];
    link[end] = '\0';
    return read_path(link, out);
}

/* The path of the working directory as the kernel tells it, without /proc if it can be had so. */
long
pcm_cwd_path(char *out)
{
    size_t root = pcm_config.root_size;
    long size = pcm_sys(SYS_getcwd, (long)(out + root), (long)(PCM_PATH_MAX - root), 0, 0, 0, 0);

    if (size < 2) /* removed, for one; the size is that with the '\0' */
        return read_path("/proc/thread-self/cwd", out);
    if (out[root] != '/') /* "(unreachable)" */
        return -1;
    memcpy(out, pcm_config.root, root);
    return root > 0 && size == 2 ? (long)root : (long)root + size - 1;
}

/* Read /proc/self/stat into `argument`, STAT_BYTES. */
static bool
read_stat(void *argument)
{
    char *text = argument;
    int fd = pcm_sys_openat(AT_FDCWD, "/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
    long size;

    if (fd < 0)
        return false;
    size = pcm_sys_read(fd, text, STAT_BYTES - 1);
    text[size > 0 ? size : 0] = '\0';
    pcm_sys_close(fd);
    return size > 0;
}

/* The 22nd field of /proc/self/stat; the second, in parentheses, may contain anything. */
uint64_t
pcm_start_time(void)
{
    char text[STAT_BYTES];
    const char *at = text;
    uint64_t value = 0;

    if (!pcm_apart(read_stat, text))
        return 0;
    for (const char *end = text; *end != '\0'; end++)
        if (*end == ')')
            at = end;
    for (int fields = 2; *at != '\0' && fields < 22; at++)
        fields += *at == ' ';
    for (; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return value;
}
