/* hooks.h - what the hooks share.
 *
 * A hook is a function of libc's that we define as well; ours is found first.  Its rules:
 *
 * 1. It makes the real call, once, with what it was given, and returns what that returned.
 * 2. Before it nothing is done that the application could notice; behind it nothing fails, blocks,
 *    allocates, locks or touches errno.  Memory and files of ours come from sys.h, state.h, apart.h.
 * 3. What the application points to is read only where the real call has read it, or by readable.h:
 *    it may not be there.
 * 4. It looks at pcm_active first, by itself or by what it calls: the application may run before our
 *    constructor, after our destructor, in a vfork child and in a signal handler.
 * 5. It says what happened (pcm_on_fd, pcm_on_path, pcm_on_look, ...), and nothing of how that is
 *    reported. */
#ifndef PCM_HOOKS_H
#define PCM_HOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#define PCM_EXPORT __attribute__((visibility("default")))

/* Another name that libc exports for a function; what it declares of it is kept. */
#define PCM_ALIAS(name, of)                                                                        \
    PCM_EXPORT extern __typeof__(of) name __attribute__((alias(#of), copy(of)));

/* For each other. */
int
pcm_changed_directory(int failed, int dirfd, const char *name);
void
pcm_on_attributes(int fd);
bool
pcm_on_attribute_call(long number, const long a[6]);
void
pcm_on_ioctl(int fd, unsigned long request);
void
pcm_on_received(int fd);
long
pcm_submit(const long a[6]);
void
pcm_on_ring(void);
void
pcm_on_message(const struct msghdr *message);
void
pcm_on_inherited(void);
void
pcm_on_mmap(int fd, int protection, int flags);
int
pcm_on_link(int failed, int old_dirfd, const char *old, int new_dirfd, const char *new, int flags);
int
pcm_on_rename2(int failed, int old_dirfd, const char *old, int new_dirfd, const char *new,
               unsigned flags);
int
pcm_removed_name(int failed, int dirfd, const char *path);
void
pcm_before_rights(long number, const long arguments[6]);
void
pcm_after_rights(long number, const long arguments[6], long result);
void
pcm_before_clone(uint64_t flags);
bool
pcm_semaphore_path(const char *name, char *out);

#endif
