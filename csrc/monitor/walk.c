/* walk.c - a name's way through directories and symbolic links, without a descriptor of ours.
 *
 * Invariants: the numbers of descriptors belong to the application, also for a moment: another of
 * its threads could put a file under ours, which we would close.  So a name is walked by reading
 * links.  What comes out is a path only if it leads to what the caller found: what lies in a mount
 * that was taken away has none, whatever /proc says. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "identity.h"
#include "proc.h"
#include "state.h"
#include "sys.h"
#include "tell.h"
#include "walk.h"
#include "wire.h"

#include "rules.h"

#define MOST_LINKS 40 /* as the kernel follows */

typedef struct {
    int dirfd;   /* what `rest` is relative to, as long as no link was met */
    bool jumped; /* one was met: what is read is relative to the root */
    char *rest;  /* the name, of which `at` bytes were walked; PCM_PATH_MAX bytes */
    size_t at;
    char *out; /* the path so far, without a slash at its end; PCM_PATH_MAX bytes */
    size_t size;
    uint32_t links;
} walk_t;

/* Whether a path leads to a file.  A process that gave up rights may not look there any more: then
 * what the kernel said is believed. */
bool
pcm_path_leads_to(char *path, size_t size, const pcm_file_t *file)
{
    size_t root = pcm_config.root_size;
    pcm_file_t there;
    int failed;

    if (size >= PCM_PATH_MAX || size < root)
        return false;
    path[size] = '\0';
    failed = pcm_find_file(AT_FDCWD, size == root ? "/" : path + root, AT_SYMLINK_NOFOLLOW, &there);
    if (failed != 0)
        return failed == -EACCES || failed == -EPERM;
    return there.inode == file->inode && there.device == file->device;
}

/* Begin at the root, or where `dirfd` is. */
static bool
begin(walk_t *self)
{
    size_t root = pcm_config.root_size;
    long size;

    self->size = root;
    memcpy(self->out, pcm_config.root, root);
    if (self->rest[0] == '/')
        return true;
    size = self->dirfd == AT_FDCWD ? pcm_cwd_path(self->out) : pcm_fd_path(self->dirfd, self->out);
    if (size <= 0)
        return false;
    self->size = size == 1 ? 0 : (size_t)size;
    return true;
}

static void
leave_directory(walk_t *self)
{
    while (self->size > pcm_config.root_size && self->out[self->size - 1] != '/')
        self->size--;
    if (self->size > pcm_config.root_size)
        self->size--;
}

/* Go on with the name that the link at the end of `out` holds, before what is left of the old one.
 * `end` is where the link's own name ends. */
static bool
follow_link(walk_t *self, size_t end, size_t name_size, const char *text, size_t size)
{
    char *old = self->rest, *rest;
    size_t left = strlen(old + end);

    if (++self->links > MOST_LINKS || size + left >= PCM_PATH_MAX)
        return false;
    rest = pcm_scratch_acquire();
    if (rest == NULL)
        return false;
    pcm_tell(self->out, self->size, PCM_LOOKED | PCM_LINK, false);
    memcpy(rest, text, size);
    memcpy(rest + size, old + end, left + 1);
    self->rest = rest;
    pcm_scratch_release(old);
    self->at = 0;
    self->jumped = true;
    self->size = text[0] == '/' ? pcm_config.root_size : self->size - name_size - 1;
    return true;
}

/* Take the name in `rest` from `from` to `end` to the end of the path, or what it links to. */
static bool
enter(walk_t *self, size_t from, size_t end)
{
    size_t size = end - from;
    char *link, after = self->rest[end];
    bool done = true;
    long read;

    if (self->size + 1 + size + 1 > PCM_PATH_MAX || (link = pcm_scratch_acquire()) == NULL)
        return false;
    self->out[self->size++] = '/';
    memcpy(self->out + self->size, self->rest + from, size);
    self->size += size;
    self->out[self->size] = '\0';
    self->rest[end] = '\0';
    read = self->jumped ? pcm_sys_readlink(self->out + pcm_config.root_size, link, PCM_PATH_MAX)
                        : pcm_sys_readlinkat(self->dirfd, self->rest, link, PCM_PATH_MAX);
    self->rest[end] = after;
    self->at = end;
    if (read > 0)
        done = follow_link(self, end, size, link, (size_t)read);
    else
        done = read == -EINVAL; /* no link */
    pcm_scratch_release(link);
    return done;
}

/* One name of the path; 1: there are more, 0: that was the last, -1: the way is lost. */
static int
step(walk_t *self)
{
    size_t from = self->at, end;

    while (self->rest[from] == '/')
        from++;
    for (end = from; self->rest[end] != '\0' && self->rest[end] != '/';)
        end++;
    if (end == from)
        return 0;
    if (end - from == 1 && self->rest[from] == '.') {
        self->at = end;
    } else if (end - from == 2 && self->rest[from] == '.' && self->rest[from + 1] == '.') {
        leave_directory(self);
        self->at = end;
    } else if (!enter(self, from, end)) {
        return -1;
    }
    return 1;
}

static long
walk(walk_t *self)
{
    int more;

    if (!begin(self))
        return -1;
    do
        more = step(self);
    while (more > 0);
    if (more < 0)
        return -1;
    if (self->size == 0)
        self->out[self->size++] = '/';
    return (long)self->size;
}

/* The absolute path of what a name leads to, links followed, into `out` of PCM_PATH_MAX bytes; ""
 * is `dirfd` itself.  `file` is what the name was found to lead to.  Returns the path's size, or -1:
 * it cannot be told. */
long
pcm_walk(int dirfd, const char *name, const pcm_file_t *file, char *out)
{
    walk_t self = {.dirfd = dirfd, .out = out, .rest = pcm_scratch_acquire()};
    size_t length = strlen(name);
    long size = -1;

    if (self.rest != NULL && length < PATH_MAX) {
        memcpy(self.rest, name, length + 1);
        size = walk(&self);
    }
    pcm_scratch_release(self.rest);
    return size > 0 && pcm_path_leads_to(out, (size_t)size, file) ? size : -1;
}
