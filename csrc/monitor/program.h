/* program.h - what a program that is to be started is. */
#ifndef PCM_PROGRAM_H
#define PCM_PROGRAM_H

typedef enum {
    PCM_FOLLOWED, /* as far as one can tell */
    PCM_IGNORES,  /* it will not load the library, but bears to be told to */
    PCM_BREAKS,   /* it would fail or complain */
} pcm_program_t;

void
pcm_program_begin(void);
pcm_program_t
pcm_program_look(int dirfd, const char *name);
pcm_program_t
pcm_program_search(const char *name);

#endif
