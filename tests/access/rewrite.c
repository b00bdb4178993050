/* The rewriting of environments, driven over drawn ones, against a slow and obvious model. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rewrite.h"

#define LIBRARY "/opt/libprecopy_monitor.so"
#define OPTION "verify_asan_link_order=0"
#define MOST 4096

static uint64_t seed = 1;

static unsigned
draw(unsigned below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % below;
}

static char *
copy(const char *text)
{
    char *out = malloc(strlen(text) + 1);

    strcpy(out, text);
    return out;
}

/* A value made of parts, ours among them, and of separators. */
static char *
draw_entry(void)
{
    static const char *const names[] = {
        "LD_PRELOAD=",
        "LD_PRELOAD=",
        "ASAN_OPTIONS=",
        "PRECOPY_LIVE=",
        "PRECOPY_APP=",
        "PRECOPY_PIPE=",
        "PRECOPY_INTERVAL_MS=",
        "PRECOPY_ROOT=",
        "PATH=",
        "LD_PRELOADED=",
        "",
    };
    static const char *const parts[] = {
        "",          "",         LIBRARY, LIBRARY, OPTION, LIBRARY ".old", "/x" LIBRARY, "a",
        "libc.so.6", ":",        " ",     ",",     "=",    "/live",        "/other",     "x",
        "1024:5:7",  "1000:5:7", "100",   "/root",
    };
    size_t room = 20000, size;
    char *text = calloc(1, room);

    strcpy(text, names[draw(sizeof(names) / sizeof(names[0]))]);
    for (unsigned n = draw(6); n > 0; n--)
        strcat(text, parts[draw(sizeof(parts) / sizeof(parts[0]))]);
    if (draw(50) == 0) {
        size = strlen(text);
        memset(text + size, 'y', draw(15000));
    }
    char *exact = copy(text); /* the sanitizer knows where it ends */
    free(text);
    return exact;
}

/* The model: strings are made, never shared. */
typedef struct {
    char *entries[MOST];
    size_t count;
} model_t;

static int
starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Split at `separators`; keep what is not `ours`, each part behind the separator before it. */
static char *
without(const char *value, const char *ours, const char *separators, int *found)
{
    char *out = calloc(1, strlen(value) + 1), *part = calloc(1, strlen(value) + 1), before = 0;
    int kept = 0;

    *found = 0;
    for (size_t i = 0, size = 0;; i++) {
        if (value[i] != '\0' && strchr(separators, value[i]) == NULL) {
            part[size++] = value[i];
            continue;
        }
        part[size] = '\0';
        if (strcmp(part, ours) == 0) {
            *found = 1;
        } else {
            if (kept++)
                strncat(out, &before, 1);
            strcat(out, part);
        }
        before = value[i];
        size = 0;
        if (value[i] == '\0')
            break;
    }
    free(part);
    return out;
}

static void
model_list(model_t *model, const char *entry, const char *name, const char *ours,
           const char *separators, bool follow)
{
    const char *value = entry + strlen(name);
    char *text = malloc(strlen(entry) + strlen(ours) + 2);
    int found;
    char *rest = without(value, ours, separators, &found);

    if (follow && !found)
        sprintf(text, "%s%s%s", entry, *value == '\0' ? "" : ":", ours);
    else if (!follow && found)
        sprintf(text, "%s%s", name, rest);
    else
        strcpy(text, entry);
    if (follow || !found || *rest != '\0')
        model->entries[model->count++] = text;
    else
        free(text);
    free(rest);
}

static int
has(const model_t *model, const char *name)
{
    for (size_t i = 0; i < model->count; i++)
        if (starts(model->entries[i], name))
            return 1;
    return 0;
}

static void
model(model_t *out, char **envp, const pcm_variables_t *ours, bool follow)
{
    const char *first = NULL;
    int others;

    out->count = 0;
    for (char **entry = envp; *entry != NULL; entry++)
        if (first == NULL && starts(*entry, "PRECOPY_LIVE="))
            first = *entry;
    others = first != NULL && strcmp(first, ours->entries[PCM_V_DIRECTORY]) != 0;
    for (char **entry = envp; *entry != NULL; entry++) {
        int variable = PCM_VARIABLES;
        for (int i = 0; i < PCM_VARIABLES; i++)
            if (starts(*entry, pcm_variable_names[i]))
                variable = i;
        const char *own = variable < PCM_VARIABLES ? ours->entries[variable] : NULL;
        bool list = variable == PCM_V_PRELOAD || variable == PCM_V_SANITIZER;
        if (list)
            model_list(out, *entry, pcm_variable_names[variable],
                       own + strlen(pcm_variable_names[variable]),
                       variable == PCM_V_PRELOAD ? ": " : ":, \n\t\r", follow);
        else if (variable == PCM_VARIABLES || (others && variable != PCM_V_ROOT))
            out->entries[out->count++] = copy(*entry);
        else if (follow && !has(out, pcm_variable_names[variable]) &&
                 (variable == PCM_V_APPLICATION || variable == PCM_V_INTERVAL ||
                  (own != NULL && strcmp(own, *entry) == 0)))
            out->entries[out->count++] = copy(*entry);
    }
    for (int i = 0; follow && i < PCM_VARIABLES; i++) {
        bool lasting = i == PCM_V_PRELOAD || i == PCM_V_SANITIZER || i == PCM_V_ROOT;
        if (ours->entries[i] != NULL && !has(out, pcm_variable_names[i]) && (!others || lasting))
            out->entries[out->count++] = copy(ours->entries[i]);
    }
    out->entries[out->count] = NULL;
}

static int
differ(char **a, char **b)
{
    for (; *a != NULL && *b != NULL; a++, b++)
        if (strcmp(*a, *b) != 0)
            return 1;
    return *a != *b;
}

static int
check(char **envp, const pcm_variables_t *ours, bool follow)
{
    static model_t expected;
    size_t size = pcm_rewrite_size(envp, ours, follow);
    char **memory = malloc(size == 0 ? 1 : size), **changed = envp;
    int failed;

    if (size > 0)
        changed = pcm_rewrite(envp, ours, follow, memory, size);
    model(&expected, envp, ours, follow);
    failed = changed == NULL || differ(changed, expected.entries) ||
             (size > 0 && pcm_rewrite(envp, ours, follow, memory, size - 1) != NULL) ||
             (size > 0 && !differ(envp, expected.entries)) ||
             pcm_rewrite_size(expected.entries, ours, follow) != 0;
    for (size_t i = 0; i < expected.count; i++)
        free(expected.entries[i]);
    free(memory);
    return failed;
}

static int
draw_one(long number)
{
    pcm_variables_t ours = {{
        [PCM_V_PRELOAD] = "LD_PRELOAD=" LIBRARY,
        [PCM_V_SANITIZER] = "ASAN_OPTIONS=" OPTION,
        [PCM_V_DIRECTORY] = "PRECOPY_LIVE=/live",
        [PCM_V_APPLICATION] = "PRECOPY_APP=x",
        [PCM_V_INTERVAL] = draw(2) ? "PRECOPY_INTERVAL_MS=100" : NULL,
        [PCM_V_ROOT] = draw(2) ? "PRECOPY_ROOT=/root" : NULL,
        [PCM_V_PIPE] = draw(2) ? "PRECOPY_PIPE=1024:5:7" : NULL,
    }};
    size_t count = draw(20) == 0 ? draw(1000) : draw(12);
    char **envp = calloc(count + 1, sizeof(char *));
    int failed;

    for (size_t i = 0; i < count; i++)
        envp[i] = draw_entry();
    failed = check(envp, &ours, draw(2));
    if (failed) {
        printf("environment %ld differs:\n", number);
        for (size_t i = 0; i < count; i++)
            printf("  '%s'\n", envp[i]);
    }
    for (size_t i = 0; i < count; i++)
        free(envp[i]);
    free(envp);
    return failed;
}

int
main(void)
{
    for (long i = 0; i < 2000; i++)
        if (draw_one(i))
            return 1;
    return 0;
}
