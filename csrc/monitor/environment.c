/* environment.c - carries the monitor across exec, whatever environment the application passes on.
 *
 * Invariant: a program started by a monitored one sees the environment that it was meant to see,
 * plus the monitor's variables; an LD_PRELOAD of its own is kept, and ours comes behind it.  An
 * environment that already names a tracker's directory is left to that tracker.  Where the library
 * cannot be reached, the program runs without it, and the log says so. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "monitor.h"
#include "sys.h"

#define DEFAULT_INTERVAL_MS 100

/* Our variables as they are handed on. */
enum { PRELOAD, DIRECTORY, APPLICATION, INTERVAL, PIPE, ROOT, SANITIZER, VARIABLES };

static const char *const names[VARIABLES] = {
    [PRELOAD] = "LD_PRELOAD=",
    [DIRECTORY] = "PRECOPY_LIVE=",
    [APPLICATION] = "PRECOPY_APP=",
    [INTERVAL] = "PRECOPY_INTERVAL_MS=",
    [PIPE] = "PRECOPY_PIPE=", /* "fd:device:inode", a hint: it is verified before use */
    [ROOT] = "PRECOPY_ROOT=",
    /* AddressSanitizer refuses to start behind any preloaded library unless told not to. */
    [SANITIZER] = "ASAN_OPTIONS=",
};
static const char sanitizer_option[] = "verify_asan_link_order=0";

static char values[VARIABLES][PATH_MAX]; /* "NAME=value"; empty: not set */

static char *
append(char *out, const char *text, size_t size)
{
    memcpy(out, text, size);
    out[size] = '\0';
    return out + size;
}

static char *
append_number(char *out, uint64_t number)
{
    char digits[20];
    size_t count = 0;

    do
        digits[sizeof(digits) - ++count] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    return append(out, digits + sizeof(digits) - count, count);
}

/* "a<separator>b" in decimal; returns the end. */
char *
pcm_format_two(char *out, uint64_t a, char separator, uint64_t b)
{
    out = append_number(out, a);
    out = append(out, &separator, 1);
    return append_number(out, b);
}

static uint64_t
parse_number(const char **text)
{
    uint64_t number = 0;

    for (; **text >= '0' && **text <= '9'; ++*text)
        number = number * 10 + (uint64_t)(**text - '0');
    if (**text == ':')
        ++*text;
    return number;
}

/* Which of our variables a "NAME=value" sets, or VARIABLES. */
static int
variable_of(const char *entry)
{
    for (int i = 0; i < VARIABLES; i++)
        if (strncmp(entry, names[i], strlen(names[i])) == 0)
            return i;
    return VARIABLES;
}

static const char *
value_of(int variable)
{
    return values[variable][0] == '\0' ? "" : values[variable] + strlen(names[variable]);
}

/* The pipe under a number of our own, as we would like a later program to inherit it. */
void
pcm_environment_describe_pipe(int fd)
{
    char *end = values[PIPE];

    if (fd < 0) {
        *end = '\0';
        return;
    }
    end = append(end, names[PIPE], strlen(names[PIPE]));
    end = pcm_format_two(end, (uint64_t)fd, ':', pcm_config.pipe_dev);
    end = append(end, ":", 1);
    append_number(end, pcm_config.pipe_ino);
}

void
pcm_environment_describe_root(void)
{
    append(append(values[ROOT], names[ROOT], strlen(names[ROOT])), pcm_config.root,
           pcm_config.root_size);
}

static void
read_pipe(const char *text)
{
    uint64_t fd = parse_number(&text);

    pcm_config.pipe_dev = parse_number(&text);
    pcm_config.pipe_ino = parse_number(&text);
    if (fd >= PCM_OWN_FD && fd < INT_MAX && pcm_config.pipe_ino != 0)
        atomic_store(&pcm_own_fd, (int)fd);
}

void
pcm_environment_read(char *const envp[])
{
    const char *text;
    Dl_info self;

    for (char *const *entry = envp; entry != NULL && *entry != NULL; entry++) {
        int variable = variable_of(*entry);
        if (variable < VARIABLES && strlen(*entry) < PATH_MAX)
            append(values[variable], *entry, strlen(*entry));
    }
    values[PRELOAD][0] = values[SANITIZER][0] = '\0';
    if (dladdr(names, &self) != 0 && strlen(self.dli_fname) < PATH_MAX / 2)
        append(append(values[PRELOAD], names[PRELOAD], strlen(names[PRELOAD])), self.dli_fname,
               strlen(self.dli_fname));
    append(append(values[SANITIZER], names[SANITIZER], strlen(names[SANITIZER])), sanitizer_option,
           sizeof(sanitizer_option) - 1);

    if (strlen(value_of(DIRECTORY)) < sizeof(pcm_config.directory))
        pcm_config.directory_size = strlen(value_of(DIRECTORY));
    append(pcm_config.directory, value_of(DIRECTORY), pcm_config.directory_size);
    if (strlen(value_of(APPLICATION)) < sizeof(pcm_config.app))
        pcm_config.app_size = strlen(value_of(APPLICATION));
    append(pcm_config.app, value_of(APPLICATION), pcm_config.app_size);
    if (strlen(value_of(ROOT)) < sizeof(pcm_config.root))
        pcm_config.root_size = strlen(value_of(ROOT));
    append(pcm_config.root, value_of(ROOT), pcm_config.root_size);
    text = value_of(INTERVAL);
    pcm_config.interval_ns = (*text == '\0' ? DEFAULT_INTERVAL_MS : parse_number(&text)) * 1000000u;
    read_pipe(value_of(PIPE));
}

/* Whether the entry already says what ours would. */
static bool
contains_ours(int variable, const char *entry)
{
    if (variable == PRELOAD)
        return strstr(entry, value_of(PRELOAD)) != NULL;
    if (variable == ROOT)
        return strcmp(entry + strlen(names[ROOT]), pcm_config.root) == 0;
    return variable == SANITIZER ? strstr(entry, sanitizer_option) != NULL : true;
}

/* Whether a program started now would find the library and could bear it.  After chroot and the like
 * it may not find it, and the dynamic loader would complain in the application's name. */
static bool
can_follow(void)
{
    return !atomic_load(&pcm_sandboxed) && pcm_sys_is_readable(value_of(PRELOAD));
}

/* Find out how an environment is to be changed; false: it is right as it is. */
bool
pcm_environment_plan(char *const envp[], pcm_injection_t *plan)
{
    bool has[VARIABLES] = {[ROOT] = pcm_config.root_size == 0};
    size_t entries = 0, bytes = strlen(values[PRELOAD]) + strlen(values[SANITIZER]) + 8;

    if (pcm_state == NULL)
        return false;
    for (; envp != NULL && envp[entries] != NULL; entries++) {
        int variable = variable_of(envp[entries]);
        if (variable == VARIABLES)
            continue;
        has[variable] = contains_ours(variable, envp[entries]);
        if (variable == PRELOAD || variable == SANITIZER)
            bytes += strlen(envp[entries]);
    }
    plan->entries = entries;
    plan->bytes = bytes + (entries + VARIABLES + 1) * sizeof(char *);
    plan->follow = can_follow();
    if (plan->follow)
        return !(has[PRELOAD] && has[DIRECTORY] && has[SANITIZER] && has[ROOT]);
    if (!atomic_load(&pcm_sandboxed))
        pcm_mark_lost(PCM_LOST_SANDBOX);
    return has[PRELOAD];
}

/* Copy an LD_PRELOAD without our library in it; returns the end, or `out` if nothing is left. */
static char *
append_without_ours(char *out, const char *entry)
{
    const char *ours = strstr(entry, value_of(PRELOAD));
    const char *rest = ours + strlen(value_of(PRELOAD));
    size_t name = strlen(names[PRELOAD]), before = (size_t)(ours - entry);

    if (before > name) /* the separator in front of it */
        before--;
    else if (*rest != '\0') /* or behind it */
        rest++;
    if (before == name && *rest == '\0')
        return out;
    return append(append(out, entry, before), rest, strlen(rest));
}

/* Copy `envp` without our library: the program cannot be followed. */
static void
take_out(char *const envp[], size_t entries, char **out, char *text)
{
    for (size_t i = 0; i < entries && envp[i] != NULL; i++) {
        *out = envp[i];
        if (variable_of(envp[i]) == PRELOAD && contains_ours(PRELOAD, envp[i])) {
            char *end = append_without_ours(text, envp[i]);
            if (end == text)
                continue;
            *out = text;
            text = end + 1;
        }
        out++;
    }
    *out = NULL;
}

/* Copy `envp` with our variables added.  Strings are shared; only a joined LD_PRELOAD or
 * ASAN_OPTIONS is new. */
static void
put_in(char *const envp[], size_t entries, char **out, char *text)
{
    bool has[VARIABLES] = {false};

    for (size_t i = 0; i < entries && envp[i] != NULL; i++)
        has[variable_of(envp[i]) % VARIABLES] |= variable_of(envp[i]) != VARIABLES;
    for (size_t i = 0; i < entries && envp[i] != NULL; i++) {
        int variable = variable_of(envp[i]);
        if (variable == ROOT || (variable == PIPE && !has[DIRECTORY]))
            continue;
        *out++ = envp[i];
        if (variable == VARIABLES || contains_ours(variable, envp[i]))
            continue;
        out[-1] = text;
        text = append(text, envp[i], strlen(envp[i]));
        text = append(text, ":", 1);
        text = append(text, value_of(variable), strlen(value_of(variable))) + 1;
    }
    for (int i = 0; i < VARIABLES; i++) {
        bool ours = i == PRELOAD || i == SANITIZER || i == ROOT || !has[DIRECTORY];
        if (ours && (!has[i] || i == PIPE || i == ROOT) && values[i][0] != '\0')
            *out++ = values[i];
    }
    *out = NULL;
}

/* The changed environment, in `memory` of as many bytes as the plan says. */
char **
pcm_environment_apply(char *const envp[], const pcm_injection_t *plan, void *memory)
{
    char **out = memory, *text = (char *)memory + (plan->entries + VARIABLES + 1) * sizeof(char *);

    if (plan->follow)
        put_in(envp, plan->entries, out, text);
    else
        take_out(envp, plan->entries, out, text);
    return out;
}

/* Append a word as a shell reads it. */
static char *
append_quoted(char *out, const char *text)
{
    out = append(out, "'", 1);
    for (; *text != '\0'; text++)
        out = *text == '\'' ? append(out, "'\\''", 4) : append(out, text, 1);
    return append(out, "'", 1);
}

/* A shell command that becomes a shell with our variables, which carries out the command: for libc
 * starts its shell with `environ`, which is not ours to change.  NULL: no need.  The memory is lent,
 * `size` bytes. */
char *
pcm_environment_command(const char *command, size_t *size)
{
    static const char shell[] = "; exec /bin/sh -c ";
    pcm_injection_t plan;
    char **changed, *text, *out;
    size_t room;

    if (command == NULL || !pcm_environment_plan(environ, &plan) || !plan.follow)
        return NULL;
    /* At worst every letter of every variable is a quote. */
    room = 4 * strlen(command) + VARIABLES * 4 * (size_t)PATH_MAX + 4 * plan.bytes;
    room = (room + 15) / 16 * 16;
    *size = room + plan.bytes;
    text = pcm_sys_lend(*size);
    if (text == NULL)
        return NULL;
    out = append(text, "export", 6);
    for (changed = pcm_environment_apply(environ, &plan, text + room); *changed != NULL;
         changed++) {
        int variable = variable_of(*changed);
        if (variable == VARIABLES)
            continue;
        out = append(append(out, " ", 1), names[variable], strlen(names[variable]));
        out = append_quoted(out, *changed + strlen(names[variable]));
    }
    append_quoted(append(out, shell, strlen(shell)), command);
    return text;
}
