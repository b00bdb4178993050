/* tell.h - what is told of a path once: that it was looked at, passed through, listed or loaded. */
#ifndef PCM_TELL_H
#define PCM_TELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void
pcm_tell(const char *path, size_t size, uint32_t use, bool more);
uint32_t
pcm_told_flush(void);
bool
pcm_told_pending(void);

#endif
