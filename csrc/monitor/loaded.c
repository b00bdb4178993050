/* loaded.c - what the dynamic loader and the kernel read to start a program, and to extend it.
 *
 * The loader opens libraries past every hook, but keeps a list of them, which is gone through at the
 * start and behind every dlopen. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>

#include "identity.h"
#include "loaded.h"
#include "names.h"
#include "real.h"
#include "report.h"
#include "state.h"
#include "sys.h"
#include "tell.h"
#include "text.h"
#include "walk.h"
#include "wire.h"

#include "rules.h"

/* Report a file that was loaded, with the links that its name passes through; `more`: the caller
 * flushes. */
void
pcm_report_library(const char *name, bool more)
{
    uint64_t tag = pcm_hash(PCM_LOADED, name, strlen(name)) | 1;
    _Atomic uint64_t *known = &pcm_state->told[tag >> 8 & (PCM_TOLD - 1)];
    size_t size = 0;
    pcm_file_t file;
    char *path;

    if (strchr(name, '/') == NULL) /* the program itself, or what the kernel maps */
        return;
    if (name[0] == '/' && atomic_load_explicit(known, memory_order_relaxed) == tag)
        return;
    if (pcm_find_file(AT_FDCWD, name, 0, &file) != 0 || !S_ISREG(file.mode))
        return;
    path = pcm_scratch_acquire();
    if (path != NULL)
        size = pcm_target_path(AT_FDCWD, name, &file, path);
    if (size > 0)
        pcm_tell(path, size, PCM_READ | PCM_LOADED, more);
    else
        pcm_mark_lost(PCM_LOST_PATH);
    pcm_scratch_release(path);
    atomic_store_explicit(known, tag, memory_order_relaxed);
}

/* Whether an object is this library. */
static bool
is_own(const struct dl_phdr_info *object)
{
    uintptr_t here = (uintptr_t)&pcm_state;

    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && here - object->dlpi_addr - part->p_vaddr < part->p_memsz)
            return true;
    }
    return false;
}

static int
on_object(struct dl_phdr_info *object, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    if (object->dlpi_name != NULL && !is_own(object))
        pcm_report_library(object->dlpi_name, true);
    return 0;
}

/* Report the libraries of which nothing was said yet. */
void
pcm_report_loaded(void)
{
    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return;
    atomic_store(&pcm_state->loads_pending, 0);
    PCM_REAL(dl_iterate_phdr)(on_object, NULL);
    pcm_told_flush();
}

/* A name that leads to the same as another one, but is spelled otherwise: through links, perhaps. */
static void
report_other_name(const char *name, const char *usual)
{
    pcm_file_t file, same;
    char *path;

    if (name == NULL || strchr(name, '/') == NULL || pcm_find_file(AT_FDCWD, name, 0, &file) != 0 ||
        pcm_find_file(AT_FDCWD, usual, 0, &same) != 0 || file.inode != same.inode ||
        file.device != same.device)
        return;
    path = pcm_scratch_acquire();
    if (path != NULL)
        pcm_walk(AT_FDCWD, name, &file, path);
    pcm_scratch_release(path);
}

/* Whether /proc says of a link what the name says. */
static bool
is_spelled(const char *name, const char *link)
{
    char *text = pcm_scratch_acquire();
    size_t length = strlen(name);
    bool same = text != NULL && length < PCM_PATH_MAX &&
                pcm_sys_readlink(link, text, PCM_PATH_MAX) == (long)length &&
                memcmp(text, name, length) == 0;

    pcm_scratch_release(text);
    return same;
}

/* By which names a program was started: its own, that of the interpreter which a script asks for
 * (the kernel makes it the first argument), and that of the working directory. */
void
pcm_report_start(char *const argv[], char *const envp[])
{
    const char *program = (const char *)(uintptr_t)getauxval(AT_EXECFN);
    pcm_file_t file;
    char *path;

    atomic_store(&pcm_state->told_gathered, 1);
    if (program != NULL && !is_spelled(program, "/proc/self/exe")) {
        path = pcm_scratch_acquire();
        if (path != NULL && pcm_find_file(AT_FDCWD, program, 0, &file) == 0)
            pcm_walk(AT_FDCWD, program, &file, path);
        pcm_scratch_release(path);
        if (argv != NULL && argv[0] != NULL && strcmp(argv[0], program) != 0 &&
            !is_spelled(argv[0], "/proc/self/exe"))
            report_other_name(argv[0], "/proc/self/exe");
    }
    for (; envp != NULL && *envp != NULL; envp++)
        if (strncmp(*envp, "PWD=/", 5) == 0 && !is_spelled(*envp + 4, "/proc/self/cwd"))
            report_other_name(*envp + 4, ".");
    pcm_report_loaded();
    atomic_store(&pcm_state->told_gathered, 0);
}
