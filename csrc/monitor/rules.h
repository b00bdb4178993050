/* rules.h - what no file of the monitor may name; the last header that each of them includes.
 *
 * The library allocates nothing, waits for no lock of libc's, and calls none of libc's string
 * functions but those that string.c replaces: it runs in signal handlers, in vfork children, inside
 * of allocators and on threads that libc does not know of.  Naming one of these does not compile. */
#ifndef PCM_RULES_H
#define PCM_RULES_H

#pragma GCC poison malloc calloc realloc reallocarray free aligned_alloc posix_memalign
#pragma GCC poison strdup strndup asprintf vasprintf sprintf snprintf vsnprintf sscanf
#pragma GCC poison memmove memchr strcpy strncpy strcat strncat strrchr strtok strtol strtoul
#pragma GCC poison pthread_create pthread_mutex_lock pthread_once pthread_atfork setenv putenv
#pragma GCC poison atexit usleep nanosleep sched_yield

#endif
