/* environment.c - carries the monitor across exec, whatever environment the application passes on.
 *
 * Invariant: a program started by a monitored one sees the environment that it was meant to see,
 * plus the monitor's variables.  One that the library cannot live in is started without it, and the
 * log says so. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "environment.h"
#include "pipe.h"
#include "program.h"
#include "readable.h"
#include "report.h"
#include "rewrite.h"
#include "state.h"
#include "sys.h"
#include "text.h"

#include "rules.h"

#define DEFAULT_INTERVAL_MS 100
#define SHELL "; exec /bin/sh -c "

static const char sanitizer_option[] = "verify_asan_link_order=0";

static char values[PCM_VARIABLES][PATH_MAX]; /* "NAME=value"; empty: not set */

static const char *
value_of(int variable)
{
    return values[variable][0] == '\0' ? ""
                                       : values[variable] + strlen(pcm_variable_names[variable]);
}

/* Set one of our variables, if the value is not too long for it. */
static void
set(int variable, const char *value, size_t size)
{
    const char *name = pcm_variable_names[variable];

    if (size < sizeof(values[variable]) - strlen(name))
        pcm_append(pcm_append(values[variable], name, strlen(name)), value, size);
}

void
pcm_environment_describe_root(void)
{
    set(PCM_V_ROOT, pcm_config.root, pcm_config.root_size);
}

/* A value of ours, if it fits into `out` of `room` bytes; its size. */
static size_t
copy_value(int variable, char *out, size_t room)
{
    const char *value = value_of(variable);
    size_t size = strlen(value);

    if (size >= room)
        size = 0;
    pcm_append(out, value, size);
    return size;
}

/* Learn what this program was started with; returns what is said of the pipe that it inherited. */
const char *
pcm_environment_read(char *const envp[])
{
    const char *text;
    Dl_info self;

    for (char *const *entry = envp; entry != NULL && *entry != NULL; entry++) {
        int variable = pcm_variable_of(*entry);
        if (variable < PCM_VARIABLES && values[variable][0] == '\0' && strlen(*entry) < PATH_MAX)
            pcm_append(values[variable], *entry, strlen(*entry));
    }
    values[PCM_V_PRELOAD][0] = values[PCM_V_SANITIZER][0] = '\0';
    if (dladdr(values, &self) != 0)
        set(PCM_V_PRELOAD, self.dli_fname, strlen(self.dli_fname));
    set(PCM_V_SANITIZER, sanitizer_option, sizeof(sanitizer_option) - 1);

    pcm_config.directory_size =
        copy_value(PCM_V_DIRECTORY, pcm_config.directory, sizeof(pcm_config.directory));
    while (pcm_config.directory_size > 1 &&
           pcm_config.directory[pcm_config.directory_size - 1] == '/')
        pcm_config.directory[--pcm_config.directory_size] = '\0'; /* a link would be followed */
    pcm_config.app_size = copy_value(PCM_V_APPLICATION, pcm_config.app, sizeof(pcm_config.app));
    pcm_config.root_size = copy_value(PCM_V_ROOT, pcm_config.root, sizeof(pcm_config.root));
    text = value_of(PCM_V_INTERVAL);
    pcm_config.interval_ns =
        (*text == '\0' ? DEFAULT_INTERVAL_MS : pcm_parse_number(&text)) * 1000000u;
    return value_of(PCM_V_PIPE);
}

/* Our variables for a program that is started now; `pipe` is the one that says which descriptor is
 * inherited, or empty. */
static pcm_variables_t
variables(const char *pipe)
{
    pcm_variables_t ours;

    for (int i = 0; i < PCM_VARIABLES; i++)
        ours.entries[i] = values[i][0] == '\0' ? NULL : values[i];
    ours.entries[PCM_V_PIPE] = pipe[0] == '\0' ? NULL : pipe;
    return ours;
}

/* Whether a program started now would find the library and could bear it.  After chroot and the like
 * it may not find it, and the dynamic loader would complain in the application's name. */
static bool
can_follow(pcm_program_t program)
{
    if (program != PCM_FOLLOWED)
        pcm_mark_lost(PCM_LOST_PROGRAM);
    if (atomic_load(&pcm_sandboxed))
        return false;
    if (program == PCM_BREAKS)
        return false;
    if (pcm_sys_is_readable(value_of(PCM_V_PRELOAD)))
        return true;
    pcm_mark_lost(PCM_LOST_SANDBOX);
    return false;
}

/* "PRECOPY_PIPE=" and what the pipe says of itself. */
static void
describe_pipe(char *out)
{
    const char *name = pcm_variable_names[PCM_V_PIPE];

    pcm_pipe_describe(pcm_append(out, name, strlen(name)));
}

/* How the environment must be changed; false: it is right as it is. */
bool
pcm_environment_plan(char *const envp[], pcm_program_t program, pcm_injection_t *plan)
{
    pcm_variables_t ours;

    plan->bytes = 0;
    plan->pipe[0] = '\0';
    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed) && !atomic_load(&pcm_sandboxed))
        return false;
    if (envp != NULL && !atomic_load(&pcm_sandboxed) && !pcm_list_is_readable(envp))
        return false; /* the call will say so */
    plan->follow = can_follow(program);
    if (pcm_pipe_hand_on())
        describe_pipe(plan->pipe);
    ours = variables(plan->pipe);
    plan->bytes = pcm_rewrite_size(envp, &ours, plan->follow);
    return plan->bytes > 0;
}

/* The changed environment, in `memory` of as many bytes as the plan says; the one given if it has
 * grown meanwhile. */
char **
pcm_environment_apply(char *const envp[], const pcm_injection_t *plan, void *memory)
{
    pcm_variables_t ours = variables(plan->pipe);
    char **changed = pcm_rewrite(envp, &ours, plan->follow, memory, plan->bytes);
    return changed == NULL ? (char **)(uintptr_t)envp : changed;
}

/* Append a word as a shell reads it. */
static char *
append_quoted(char *out, const char *text)
{
    out = pcm_append(out, "'", 1);
    for (; *text != '\0'; text++)
        out = *text == '\'' ? pcm_append(out, "'\\''", 4) : pcm_append(out, text, 1);
    return pcm_append(out, "'", 1);
}

/* The command's room at most: every letter may be a quote. */
static size_t
command_room(char **changed, const char *command)
{
    size_t room = sizeof("export") + sizeof(SHELL) + 4 * strlen(command) + 3;

    for (; *changed != NULL; changed++)
        if (pcm_variable_of(*changed) != PCM_VARIABLES)
            room += 4 * strlen(*changed) + 4;
    return room;
}

static void
write_command(char *out, char **changed, const char *command)
{
    out = pcm_append(out, "export", 6);
    for (; *changed != NULL; changed++) {
        int variable = pcm_variable_of(*changed);
        if (variable == PCM_VARIABLES)
            continue;
        size_t size = strlen(pcm_variable_names[variable]);
        out = pcm_append(pcm_append(out, " ", 1), pcm_variable_names[variable], size);
        out = append_quoted(out, *changed + size);
    }
    append_quoted(pcm_append(out, SHELL, strlen(SHELL)), command);
}

/* A shell command that becomes a shell with our variables, which carries out the command: for libc
 * starts its shell with `environ`, which is not ours to change.  NULL: no need.  The memory is lent,
 * `size` bytes. */
char *
pcm_environment_command(const char *command, size_t *size)
{
    pcm_injection_t plan;
    char **changed, *text;
    void *memory;

    if (command == NULL || !pcm_environment_plan(environ, PCM_FOLLOWED, &plan) || !plan.follow)
        return NULL;
    memory = pcm_sys_lend(plan.bytes);
    if (memory == NULL)
        return NULL;
    changed = pcm_environment_apply(environ, &plan, memory);
    *size = command_room(changed, command);
    text = pcm_sys_lend(*size);
    if (text != NULL)
        write_command(text, changed, command);
    pcm_sys_give_back(memory, plan.bytes);
    return text;
}
