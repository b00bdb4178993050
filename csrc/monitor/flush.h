/* flush.h - everything that is pending, wherever it is kept. */
#ifndef PCM_FLUSH_H
#define PCM_FLUSH_H

#include <stdint.h>

uint32_t
pcm_flush_all(void);
void
pcm_flush_begin(void);

#endif
