/* apart.h - opening files out of the application's sight. */
#ifndef PCM_APART_H
#define PCM_APART_H

#include <stdbool.h>
#include <stdint.h>

/* Something to be done; false: it could not be. */
typedef bool
pcm_errand_t(void *argument);

bool
pcm_is_alone(void);
bool
pcm_apart(pcm_errand_t *errand, void *argument);

#endif
