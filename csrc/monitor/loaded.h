/* loaded.h - what the dynamic loader and the kernel read to start a program, and to extend it. */
#ifndef PCM_LOADED_H
#define PCM_LOADED_H

#include <stdbool.h>

void
pcm_report_start(char *const argv[], char *const envp[]);
void
pcm_report_loaded(void);
void
pcm_report_library(const char *name, bool more);

#endif
