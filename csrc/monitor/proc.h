/* proc.h - what the kernel says of this process by way of /proc. */
#ifndef PCM_PROC_H
#define PCM_PROC_H

#include <stdint.h>

long
pcm_fd_path(int fd, char *out);
long
pcm_cwd_path(char *out);
uint64_t
pcm_start_time(void);

#endif
