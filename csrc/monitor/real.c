/* real.c - looks up the functions that the hooks stand in front of. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

#include "real.h"

#include "rules.h"

pcm_real_t pcm_real;

/* POSIX lets a function's address travel through `void *`; ISO C needs the copy. */
static void
lookup(void *handle, const char *name, void *pointer)
{
    void *address = dlsym(handle, name);

    memcpy(pointer, &address, sizeof(address));
}

/* libc's clock, or none: the flusher cannot run a sanitizer's, or that of a library that shifts
 * time. */
static void
lookup_clock(void)
{
    Dl_info library;
    void *address;

    lookup(RTLD_NEXT, "clock_gettime", (void *)&pcm_real.libc_clock_gettime);
    memcpy(&address, (void *)&pcm_real.libc_clock_gettime, sizeof(address));
    if (dladdr(address, &library) == 0 || strstr(library.dli_fname, "/libc.so") == NULL)
        pcm_real.libc_clock_gettime = NULL;
}

void
pcm_real_resolve(void)
{
#define PCM_LOOKUP(type, name, parameters) lookup(RTLD_NEXT, #name, (void *)&pcm_real.name);
    PCM_REAL_FUNCTIONS(PCM_LOOKUP)
    lookup(RTLD_NEXT, "_exit", (void *)&pcm_real._exit);
    lookup(RTLD_NEXT, "quick_exit", (void *)&pcm_real.quick_exit);
    lookup(RTLD_NEXT, "abort", (void *)&pcm_real.abort);
    lookup_clock();
}

/* Fill in one pointer that is still missing.  The caller may be an allocator that is setting itself
 * up and holds its lock: nothing here allocates, since the name exists, and the rest waits. */
void
pcm_real_find(const char *name, void *pointer)
{
    lookup(RTLD_NEXT, name, pointer);
}
