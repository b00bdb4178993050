/* apart.h - opening files out of the application's sight. */
#ifndef PCM_APART_H
#define PCM_APART_H

#include <stdbool.h>
#include <stdint.h>

#include "clone.h"

/* The signals that were blocked before, to be set again. */
uint64_t
pcm_signals_block(void);
void
pcm_signals_restore(uint64_t before);

/* Something to be done; false: it could not be. */
typedef bool
pcm_errand_t(void *argument);

bool
pcm_is_alone(void);
bool
pcm_apart(pcm_errand_t *errand, void *argument);
void
pcm_wait_until_gone(uint32_t tid);

#endif
