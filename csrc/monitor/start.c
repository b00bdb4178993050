/* start.c - how the monitor comes to life.
 *
 * Invariant: pcm_active becomes true last, when everything that a hook may call is ready; where
 * something is missing it stays false, and every hook passes through. */
#define _GNU_SOURCE
#include "environment.h"
#include "fds.h"
#include "flush.h"
#include "hooks.h"
#include "loaded.h"
#include "pipe.h"
#include "program.h"
#include "real.h"
#include "report.h"
#include "slots.h"
#include "state.h"
#include "sys.h"
#include "wire.h"

#include "rules.h"

static const char wire_text[] __attribute__((used)) = PCM_WIRE_TEXT;

/* Standard input may come from outside, and reading shows nowhere else; the first write to an
 * inherited descriptor does. */
static void
report_standard_input(void)
{
    struct stat status;
    long flags = pcm_sys_fcntl(0, F_GETFL, 0);

    if (flags >= 0 && (flags & O_ACCMODE) != O_WRONLY && pcm_sys_fstat(0, &status) == 0 &&
        status.st_nlink > 0)
        pcm_on_fd(0, (pcm_event_t){.use = PCM_READ});
}

static void
init(char *const argv[], char *const envp[])
{
    const char *pipe;
    struct stat proc;

    pcm_real_resolve();
    pipe = pcm_environment_read(envp);
    if (pcm_sys_lstatat(AT_FDCWD, "/proc/self", &proc) == 0)
        pcm_config.proc_dev = proc.st_dev;
    if (pcm_config.app_size == 0 || pcm_config.directory_size == 0)
        return;
    if (!pcm_state_begin()) {
        pcm_mark_lost_at_start(PCM_LOST_MEMORY);
        return;
    }
    pcm_flush_begin();
    pcm_pipe_begin(pipe);
    if (atomic_load(&pcm_own_fd) < 0 && pcm_refuse_foreign())
        return;
    pcm_program_begin();
    pcm_identify();
    atomic_store(&pcm_active, true);
    report_standard_input();
    pcm_on_inherited();
    pcm_report_start(argv, envp);
}

/* The library is linked so that it is the first to be initialised, before others open files: libc
 * itself has not got as far as `environ`. */
__attribute__((constructor)) static void
on_load(int argc, char **argv, char **envp)
{
    (void)argc;
    init(argv, envp);
}
