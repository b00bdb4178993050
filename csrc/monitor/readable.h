/* readable.h - memory that the application points to, and that may not be there. */
#ifndef PCM_READABLE_H
#define PCM_READABLE_H

#include <stdbool.h>
#include <stddef.h>

bool
pcm_text_is_readable(const char *text);
bool
pcm_list_is_readable(char *const list[]);
bool
pcm_copy_in(void *to, const void *from, size_t size);

#endif
