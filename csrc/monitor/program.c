/* program.c - what a program that is to be started is, as its first bytes say.
 *
 * The library can live only in a program of the same machine, word size and C library.  A static
 * program, or one that gains rights by being started, leaves it out by itself.
 *
 * Invariant: the program is opened out of the application's sight, and what cannot be read is taken
 * for a program like this one: to start it or to fail is the kernel's. */
#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "apart.h"
#include "program.h"
#include "readable.h"
#include "state.h"
#include "sys.h"
#include "text.h"

#include "rules.h"

#define INTERPRETERS 5   /* that the kernel follows */
#define HEADER_BYTES 256 /* that the kernel looks at for "#!" */
#define LOADER_BYTES 256

static char loader[LOADER_BYTES]; /* the path of this program's dynamic loader; "": not known */

typedef struct {
    const char *name;
    char header[HEADER_BYTES + 1];
    pcm_program_t found;
    bool script;
} look_t;

/* Learn the name of our own loader, which stands in the program as it was mapped. */
void
pcm_program_begin(void)
{
    const ElfW(Phdr) *headers = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    size_t count = getauxval(AT_PHNUM);
    uintptr_t base = 0;

    for (size_t i = 0; headers != NULL && i < count; i++)
        if (headers[i].p_type == PT_PHDR)
            base = (uintptr_t)headers - headers[i].p_vaddr;
    for (size_t i = 0; headers != NULL && i < count; i++)
        if (headers[i].p_type == PT_INTERP && headers[i].p_memsz <= sizeof(loader))
            memcpy(loader, (const void *)(base + headers[i].p_vaddr), headers[i].p_memsz);
    loader[sizeof(loader) - 1] = '\0';
}

/* Two names of one loader, as /lib64 and /usr/lib64 give it. */
static bool
is_our_loader(const char *name)
{
    struct stat ours, theirs;

    return loader[0] == '\0' || strcmp(name, loader) == 0 ||
           (pcm_sys_statat(AT_FDCWD, loader, &ours) == 0 &&
            pcm_sys_statat(AT_FDCWD, name, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
            ours.st_ino == theirs.st_ino);
}

/* What a dynamic program asks for; none means a static one. */
static pcm_program_t
look_at_loader(int fd, const ElfW(Ehdr) * header)
{
    char name[LOADER_BYTES];
    ElfW(Phdr) segment;
    long size;

    for (unsigned i = 0; i < header->e_phnum; i++) {
        long at = (long)(header->e_phoff + (uint64_t)i * header->e_phentsize);
        if (pcm_sys(SYS_pread64, fd, (long)&segment, sizeof(segment), at, 0, 0) !=
            (long)sizeof(segment))
            return PCM_FOLLOWED;
        if (segment.p_type != PT_INTERP)
            continue;
        size = pcm_sys(SYS_pread64, fd, (long)name, sizeof(name) - 1, (long)segment.p_offset, 0, 0);
        if (size <= 0 || segment.p_filesz > (uint64_t)size)
            return PCM_FOLLOWED;
        name[segment.p_filesz] = '\0';
        return is_our_loader(name) ? PCM_FOLLOWED : PCM_BREAKS;
    }
    return PCM_IGNORES;
}

static pcm_program_t
look_at_elf(int fd, const char *bytes, long size)
{
    const ElfW(Ehdr) *own = (const ElfW(Ehdr) *)getauxval(AT_SYSINFO_EHDR);
    ElfW(Ehdr) header;

    memcpy(&header, bytes, sizeof(header));
    if (size < (long)sizeof(header) || header.e_ident[EI_CLASS] != (sizeof(long) == 8 ? 2 : 1) ||
        (own != NULL && header.e_machine != own->e_machine))
        return PCM_BREAKS;
    if (header.e_phentsize != sizeof(ElfW(Phdr)))
        return PCM_FOLLOWED; /* to be refused by the kernel */
    return look_at_loader(fd, &header);
}

/* Whether the program gains rights by being started: its loader then heeds no LD_PRELOAD. */
static bool
gains_rights(int fd, const struct stat *status)
{
    uint32_t user = (uint32_t)pcm_sys(SYS_getuid, 0, 0, 0, 0, 0, 0);
    uint32_t group = (uint32_t)pcm_sys(SYS_getgid, 0, 0, 0, 0, 0, 0);
    bool sets_group = (status->st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);

    return ((status->st_mode & S_ISUID) != 0 && status->st_uid != user) ||
           (sets_group && status->st_gid != group) ||
           (user != 0 && pcm_sys(SYS_fgetxattr, fd, (long)"security.capability", 0, 0, 0, 0) > 0);
}

static bool
look_at(void *argument)
{
    look_t *look = argument;
    int fd = pcm_sys_openat(AT_FDCWD, look->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
    struct stat status;
    long size;

    if (fd < 0)
        return fd != -24 && fd != -23; /* EMFILE, ENFILE: a helper may */
    size = pcm_sys_fstat(fd, &status) == 0 && S_ISREG(status.st_mode)
               ? pcm_sys_read(fd, look->header, HEADER_BYTES)
               : -1;
    look->script = size > 2 && memcmp(look->header, "#!", 2) == 0;
    if (size > 4 && memcmp(look->header, ELFMAG, SELFMAG) == 0) {
        look->found = look_at_elf(fd, look->header, size);
        if (look->found == PCM_FOLLOWED && gains_rights(fd, &status))
            look->found = PCM_IGNORES;
    }
    pcm_sys_close(fd);
    return true;
}

/* The interpreter that a script's first line names. */
static void
read_interpreter(const char *line, char *out)
{
    const char *name = line + 2;
    size_t size = 0;

    while (*name == ' ' || *name == '\t')
        name++;
    while (name[size] != '\0' && name[size] != ' ' && name[size] != '\t' && name[size] != '\n')
        size++;
    memcpy(out, name, size);
    out[size] = '\0';
}

static pcm_program_t
look_through_scripts(const char *name)
{
    char interpreter[HEADER_BYTES + 1];
    look_t look = {.name = name};

    for (int i = 0; i <= INTERPRETERS; i++) {
        if (!pcm_apart(look_at, &look) || !look.script)
            return look.found;
        read_interpreter(look.header, interpreter);
        look = (look_t){.name = interpreter};
    }
    return look.found;
}

/* The program that execveat, or fexecve with an empty name, would start.  A helper has the
 * descriptor only by way of /proc. */
pcm_program_t
pcm_program_look(int dirfd, const char *name)
{
    pcm_program_t found = PCM_FOLLOWED;
    size_t size;
    char *path, *end;

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) || !pcm_text_is_readable(name))
        return PCM_FOLLOWED;
    size = strlen(name);
    if (name[0] == '/' || (dirfd == AT_FDCWD && size > 0))
        return look_through_scripts(name);
    path = dirfd < 0 || size >= PATH_MAX - 64 ? NULL : pcm_scratch_acquire();
    if (path == NULL)
        return PCM_FOLLOWED;
    memcpy(path, "/proc/self/task/", 16);
    end = pcm_format_two(path + 16, (uint64_t)pcm_sys(SYS_gettid, 0, 0, 0, 0, 0, 0), '/', 0) - 1;
    memcpy(end, "fd/", 3);
    end = pcm_format_two(end + 3, (uint64_t)dirfd, '/', 0) - 1;
    if (size == 0)
        end[-1] = '\0';
    else
        memcpy(end, name, size + 1);
    found = look_through_scripts(path);
    pcm_scratch_release(path);
    return found;
}

static size_t
colon(const char *path)
{
    size_t size = 0;

    while (path[size] != '\0' && path[size] != ':')
        size++;
    return size;
}

/* The first that is executable, as execvp finds it in `path`, a list of directories. */
static const char *
find(const char *path, const char *name, size_t name_size, char *out)
{
    struct stat status;

    for (;; path++) {
        size_t size = colon(path);
        if (size + name_size + 2 <= PATH_MAX) {
            memcpy(out, path, size);
            out[size] = '/';
            memcpy(out + size + (size > 0), name, name_size + 1);
            if (pcm_sys_statat(AT_FDCWD, out, &status) == 0 && S_ISREG(status.st_mode) &&
                pcm_sys(SYS_faccessat, AT_FDCWD, (long)out, X_OK, 0, 0, 0) == 0)
                return out;
        }
        path += size;
        if (*path == '\0')
            return NULL;
    }
}

/* The program that execvp or posix_spawnp would start. */
pcm_program_t
pcm_program_search(const char *name)
{
    const char *path = getenv("PATH"), *found;
    pcm_program_t program = PCM_FOLLOWED;
    char *out;

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) || !pcm_text_is_readable(name) ||
        name[0] == '\0')
        return PCM_FOLLOWED;
    if (strstr(name, "/") != NULL)
        return pcm_program_look(AT_FDCWD, name);
    out = pcm_scratch_acquire();
    if (out == NULL)
        return PCM_FOLLOWED;
    found = find(path == NULL ? "/bin:/usr/bin" : path, name, strlen(name), out);
    if (found != NULL)
        program = look_through_scripts(found);
    pcm_scratch_release(out);
    return program;
}
