/* directory.c - the tracker's directory and what lies in it.
 *
 * Invariant: the directory is opened once, without following a link, and everything in it relative
 * to that, without following a link; owner, kind and number of names are those of the descriptor and
 * are checked before anything is changed.  So a process with more rights than the directory's owner
 * does nothing with them on his word: it is told to leave instead. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/resource.h>

#include "directory.h"
#include "state.h"
#include "sys.h"

#include "rules.h"

#define FLAGS (O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)

static uint32_t
effective_user(void)
{
    return (uint32_t)pcm_sys(SYS_geteuid, 0, 0, 0, 0, 0, 0);
}

/* Keep a descriptor if it is of that kind, has one name at most, and belongs to `user`; -1: not. */
static int
keep(int fd, mode_t kind, uint32_t user)
{
    struct stat status;

    if (fd < 0)
        return -1;
    if (pcm_sys_fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == kind &&
        (kind == S_IFDIR || status.st_nlink == 1) && status.st_uid == user &&
        (status.st_mode & (S_IWGRP | S_IWOTH)) == 0)
        return fd;
    pcm_sys_close(fd);
    return -1;
}

/* The tracker's directory, if it is ours; or only if it is somebody else's. */
int
pcm_directory_open(pcm_owner_t owner)
{
    int fd = pcm_sys_openat(AT_FDCWD, pcm_config.directory,
                            O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    struct stat status;

    if (fd < 0)
        return -1;
    if (pcm_sys_fstat(fd, &status) == 0 && S_ISDIR(status.st_mode) &&
        (status.st_uid == effective_user()) == (owner == PCM_OURS))
        return fd;
    pcm_sys_close(fd);
    return -1;
}

/* The pipe, to be written into only: nobody may take out what others reported, and one that nobody
 * reads is not there. */
int
pcm_directory_pipe(int directory)
{
    return keep(pcm_sys_openat(directory, "pipe", O_WRONLY | FLAGS, 0), S_IFIFO, effective_user());
}

/* The pipe beside the directory, named like it, into which processes of other users write a byte.
 * Only that it is a pipe matters: whoever put it there, a byte tells him no more than that. */
int
pcm_directory_strangers(void)
{
    static const char ours[] = "-live", theirs[] = "-strangers";
    size_t size = pcm_config.directory_size;
    struct stat status;
    char *name;
    int fd;

    if (size < sizeof(ours) || size + sizeof(theirs) > PCM_PATH_MAX ||
        memcmp(pcm_config.directory + size - (sizeof(ours) - 1), ours, sizeof(ours)) != 0 ||
        (name = pcm_scratch_acquire()) == NULL)
        return -1;
    size -= sizeof(ours) - 1;
    memcpy(name, pcm_config.directory, size);
    memcpy(name + size, theirs, sizeof(theirs));
    fd = pcm_sys_openat(AT_FDCWD, name, O_WRONLY | FLAGS, 0);
    pcm_scratch_release(name);
    if (fd < 0 || (pcm_sys_fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode)))
        return fd;
    pcm_sys_close(fd);
    return -1;
}

/* This process's spill file, made if need be. */
int
pcm_directory_spill(int directory, const char *name)
{
    uint32_t user = effective_user();
    int folder =
        keep(pcm_sys_openat(directory, "spill", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0),
             S_IFDIR, user);
    int fd = -1;

    if (folder < 0)
        return -1;
    fd = keep(pcm_sys_openat(folder, name, O_WRONLY | O_APPEND | O_CREAT | FLAGS, 0600), S_IFREG,
              user);
    pcm_sys_close(folder);
    return fd;
}

/* Whether this process may make a file that long: the signal that it may not would kill it. */
bool
pcm_may_grow_to(uint64_t size)
{
    uint64_t limit[2] = {0, 0};

    return pcm_sys(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, (long)limit, 0, 0) == 0 && size <= limit[0];
}

/* The tracker keeps an empty file per way of losing reports; making it longer takes no space, so
 * this works on a full disk, too. */
bool
pcm_directory_mark(int directory, const char *name)
{
    int fd = keep(pcm_sys_openat(directory, name, O_WRONLY | FLAGS, 0), S_IFREG, effective_user());
    bool done;

    if (fd < 0)
        return false;
    done = pcm_may_grow_to(1) && pcm_sys(SYS_ftruncate, fd, 1, 0, 0, 0, 0) >= 0;
    pcm_sys_close(fd);
    return done;
}
