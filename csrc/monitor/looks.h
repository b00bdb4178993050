/* looks.h - what an application looks at by name only. */
#ifndef PCM_LOOKS_H
#define PCM_LOOKS_H

#include <stdbool.h>

#include "identity.h"

void
pcm_on_look(int dirfd, const char *name, bool follow, const pcm_file_t *file);
void
pcm_on_listed(int dirfd, const char *name);

#endif
