/* environment.h - carries the monitor across exec. */
#ifndef PCM_ENVIRONMENT_H
#define PCM_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "pipe.h"
#include "program.h"

/* How an environment is to be changed for a program that is started. */
typedef struct {
    size_t bytes;             /* that the changed one needs */
    bool follow;              /* put the library in, rather than out */
    char pipe[PCM_PIPE_TEXT]; /* the variable that says which descriptor is the pipe; "": none */
} pcm_injection_t;

const char *
pcm_environment_read(char *const envp[]);
void
pcm_environment_describe_root(void);
bool
pcm_environment_plan(char *const envp[], pcm_program_t program, pcm_injection_t *plan);
char **
pcm_environment_apply(char *const envp[], const pcm_injection_t *plan, void *memory);
char *
pcm_environment_command(const char *command, size_t *size);

#endif
