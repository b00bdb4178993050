/* directory.h - the tracker's directory and what lies in it. */
#ifndef PCM_DIRECTORY_H
#define PCM_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

/* What may be opened: ours, or somebody else's, who then may only be told that we leave. */
typedef enum { PCM_OURS, PCM_FOREIGN } pcm_owner_t;

int
pcm_directory_open(pcm_owner_t owner);
int
pcm_directory_pipe(int directory);
int
pcm_directory_strangers(void);
int
pcm_directory_spill(int directory, const char *name);
bool
pcm_directory_mark(int directory, const char *name);
bool
pcm_may_grow_to(uint64_t size);

#endif
