/* real.c - looks up the functions that the hooks stand in front of. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

#include "monitor.h"
#include "real.h"

pcm_real_t pcm_real;

/* POSIX lets a function's address travel through `void *`; ISO C needs the copy. */
static void
lookup(void *handle, const char *name, void *pointer)
{
    void *address = dlsym(handle, name);

    memcpy(pointer, &address, sizeof(address));
}

void
pcm_real_resolve(void)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);

#define PCM_LOOKUP(type, name, parameters) lookup(RTLD_NEXT, #name, (void *)&pcm_real.name);
    PCM_REAL_FUNCTIONS(PCM_LOOKUP)
    lookup(RTLD_NEXT, "_exit", (void *)&pcm_real._exit);
    lookup(libc != NULL ? libc : RTLD_NEXT, "clock_gettime", (void *)&pcm_real.libc_clock_gettime);
}

/* Fill in one pointer that is still missing. */
void
pcm_real_find(const char *name, void *pointer)
{
    void *found;

    pcm_init();
    memcpy(&found, pointer, sizeof(found));
    if (found == NULL)
        lookup(RTLD_NEXT, name, pointer);
}
