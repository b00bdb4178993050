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
enum { PRELOAD, DIRECTORY, APPLICATION, INTERVAL, PIPE, SANITIZER, VARIABLES };

static const char *const names[VARIABLES] = {
    [PRELOAD] = "LD_PRELOAD=",
    [DIRECTORY] = "PRECOPY_LIVE=",
    [APPLICATION] = "PRECOPY_APP=",
    [INTERVAL] = "PRECOPY_INTERVAL_MS=",
    [PIPE] = "PRECOPY_PIPE=", /* "fd:device:inode", a hint: it is verified before use */
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
pcm_environment_read(void)
{
    const char *text;
    Dl_info self;

    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
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
    return variable == SANITIZER ? strstr(entry, sanitizer_option) != NULL : true;
}

/* Whether a program started now would find the library; after chroot and the like it may not, and
 * the dynamic loader would complain about that in the application's name. */
static bool
is_reachable(void)
{
    return pcm_sys_is_readable(value_of(PRELOAD));
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

/* Bytes that pcm_environment_inject needs; 0: the environment is right as it is. */
size_t
pcm_environment_size(char *const envp[])
{
    bool has[VARIABLES] = {false};
    size_t entries = 0, bytes = 0;

    if (!atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return 0;
    for (; envp != NULL && envp[entries] != NULL; entries++) {
        int variable = variable_of(envp[entries]);
        if (variable == VARIABLES)
            continue;
        has[variable] = contains_ours(variable, envp[entries]);
        if (!has[variable] || variable == PRELOAD)
            bytes += strlen(envp[entries]);
    }
    if (!is_reachable())
        pcm_mark_lost(PCM_LOST_SANDBOX);
    else if (has[PRELOAD] && has[DIRECTORY] && has[SANITIZER])
        return 0;
    bytes += strlen(values[PRELOAD]) + strlen(values[SANITIZER]) + 8;
    return bytes + (entries + VARIABLES + 1) * sizeof(char *);
}

/* Copy `envp` without our library into `memory`: the program cannot be followed. */
static char **
take_out(char *const envp[], char **out, char *text)
{
    size_t count = 0;

    for (size_t i = 0; envp != NULL && envp[i] != NULL; i++) {
        out[count] = envp[i];
        if (variable_of(envp[i]) == PRELOAD && contains_ours(PRELOAD, envp[i])) {
            char *end = append_without_ours(text, envp[i]);
            if (end == text)
                continue;
            out[count] = text;
            text = end + 1;
        }
        count++;
    }
    out[count] = NULL;
    return out;
}

/* Copy `envp` with our variables added into `memory`, which is as large as pcm_environment_size
 * said. Strings are shared; only a joined LD_PRELOAD or ASAN_OPTIONS is new. */
char **
pcm_environment_inject(char *const envp[], void *memory)
{
    char **out = memory, *text = (char *)memory;
    bool has[VARIABLES] = {false};
    size_t count = 0, entries = 0;

    for (; envp != NULL && envp[entries] != NULL; entries++)
        has[variable_of(envp[entries]) % VARIABLES] |= variable_of(envp[entries]) != VARIABLES;
    text += (entries + VARIABLES + 1) * sizeof(char *);
    if (!is_reachable())
        return take_out(envp, out, text);
    for (size_t i = 0; i < entries; i++) {
        int variable = variable_of(envp[i]);
        if (variable == PIPE && !has[DIRECTORY])
            continue;
        out[count++] = envp[i];
        if (variable == VARIABLES || contains_ours(variable, envp[i]))
            continue;
        out[count - 1] = text;
        text = append(text, envp[i], strlen(envp[i]));
        text = append(text, ":", 1);
        text = append(text, value_of(variable), strlen(value_of(variable))) + 1;
    }
    for (int i = 0; i < VARIABLES; i++) {
        bool ours = i == PRELOAD || i == SANITIZER || !has[DIRECTORY];
        if (ours && (!has[i] || i == PIPE) && values[i][0] != '\0')
            out[count++] = values[i];
    }
    out[count] = NULL;
    return out;
}
