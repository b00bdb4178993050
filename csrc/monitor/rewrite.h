/* rewrite.h - an environment, changed for a program that is to be followed, or that cannot be. */
#ifndef PCM_REWRITE_H
#define PCM_REWRITE_H

#include <stdbool.h>
#include <stddef.h>

/* Our variables as they are handed on. */
enum {
    PCM_V_PRELOAD,
    PCM_V_SANITIZER,
    PCM_V_DIRECTORY,
    PCM_V_APPLICATION,
    PCM_V_INTERVAL,
    PCM_V_ROOT,
    PCM_V_PIPE,
    PCM_VARIABLES
};

extern const char *const pcm_variable_names[PCM_VARIABLES]; /* "NAME=" */

typedef struct {
    const char *entries[PCM_VARIABLES]; /* "NAME=value"; NULL: not to be set */
} pcm_variables_t;

int
pcm_variable_of(const char *entry);
size_t
pcm_rewrite_size(char *const envp[], const pcm_variables_t *ours, bool follow);
char **
pcm_rewrite(char *const envp[], const pcm_variables_t *ours, bool follow, void *memory,
            size_t size);

#endif
