/* walk.h - a name's way through directories and symbolic links. */
#ifndef PCM_WALK_H
#define PCM_WALK_H

#include <stdbool.h>
#include <stddef.h>

#include "identity.h"

long
pcm_walk(int dirfd, const char *name, const pcm_file_t *file, char *out);
bool
pcm_path_leads_to(char *path, size_t size, const pcm_file_t *file);

#endif
