/* hooks_load.c - whatever loads a library while the program runs.
 *
 * Invariant: a dlopen whose outcome depends on who calls it is made by a jump, so that its caller is
 * the application; what it loaded is found a little later. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <string.h>

#include "hooks.h"
#include "loaded.h"
#include "real.h"
#include "state.h"

#include "rules.h"

static bool
has_entry(const struct link_map *map, ElfW(Sxword) wanted)
{
    for (const ElfW(Dyn) *entry = map->l_ld; entry != NULL && entry->d_tag != DT_NULL; entry++)
        if (entry->d_tag == wanted)
            return true;
    return false;
}

/* Whether it matters who asks for a library: where its name is searched for, or what "$ORIGIN" in it
 * means. */
static bool
depends_on_caller(const char *file, void *caller)
{
    struct link_map *map = NULL;
    Dl_info object;

    if (file == NULL || strchr(file, '$') != NULL)
        return true;
    if (strchr(file, '/') != NULL)
        return false;
    if (dladdr1(caller, &object, (void **)&map, RTLD_DL_LINKMAP) == 0 || map == NULL ||
        has_entry(map, DT_RUNPATH))
        return true;
    while (map->l_prev != NULL)
        map = map->l_prev;
    for (; map != NULL; map = map->l_next)
        if (has_entry(map, DT_RPATH))
            return true;
    return false;
}

/* A library that asked for its own symbols first would find libc's functions past our hooks.  The
 * last call must be a jump: the dynamic loader searches on behalf of whoever it returns to. */
PCM_EXPORT void *
dlopen(const char *file, int mode)
{
    void *library;

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return PCM_REAL(dlopen)(file, mode);
    mode &= ~RTLD_DEEPBIND;
    if (depends_on_caller(file, __builtin_return_address(0))) {
        atomic_store(&pcm_state->loads_pending, 1);
        return PCM_REAL(dlopen)(file, mode);
    }
    library = PCM_REAL(dlopen)(file, mode);
    if (library != NULL)
        pcm_report_loaded();
    return library;
}

/* What is in a namespace of its own is in no list but that of its handle. */
static void
report_namespace(void *library)
{
    struct link_map *map = NULL;

    if (dlinfo(library, RTLD_DI_LINKMAP, &map) != 0 || map == NULL)
        return;
    while (map->l_prev != NULL)
        map = map->l_prev;
    for (; map != NULL; map = map->l_next)
        if (map->l_name != NULL)
            pcm_report_library(map->l_name, false);
}

PCM_EXPORT void *
dlmopen(Lmid_t namespace, const char *file, int mode)
{
    void *library;

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) ||
        depends_on_caller(file, __builtin_return_address(0)))
        return PCM_REAL(dlmopen)(namespace, file, mode);
    library = PCM_REAL(dlmopen)(namespace, file, mode);
    if (library != NULL)
        report_namespace(library);
    return library;
}
