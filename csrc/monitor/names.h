/* names.h - from a name to the path it stands for. */
#ifndef PCM_NAMES_H
#define PCM_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "identity.h"
#include "slots.h"

void
pcm_on_path(int dirfd, const char *name, pcm_event_t event);
void
pcm_on_target(int dirfd, const char *name, int flags, pcm_event_t event);
void
pcm_account(const char *path, size_t size, pcm_event_t event);
size_t
pcm_name_path(int dirfd, const char *name, char *out);
size_t
pcm_directory_path(int dirfd, const char *name, size_t size, char *out);
size_t
pcm_target_path(int dirfd, const char *name, const pcm_file_t *file, char *out);
uint64_t
pcm_name_tag(int dirfd, const char *name, const pcm_file_t *file, uint64_t now);
void
pcm_forget_cwd(void);

#endif
