/* rewrite.c - an environment, changed for a program that is to be followed, or that cannot be.
 *
 * Two variables are lists that others use, too: ours is added to every entry that lacks it, for
 * programs differ in which of several entries they heed.  The others are ours alone.  An environment
 * that names another tracker's directory is left to that tracker.
 *
 * Invariant: measuring and writing are the same steps, and writing ends where its memory does;
 * strings that do not change are shared with the environment given. */
#include "rewrite.h"

#include <string.h>

#include "rules.h"

const char *const pcm_variable_names[PCM_VARIABLES] = {
    [PCM_V_PRELOAD] = "LD_PRELOAD=",
    /* AddressSanitizer refuses to start behind any preloaded library unless told not to. */
    [PCM_V_SANITIZER] = "ASAN_OPTIONS=",
    [PCM_V_DIRECTORY] = "PRECOPY_LIVE=",
    [PCM_V_APPLICATION] = "PRECOPY_APP=",
    [PCM_V_INTERVAL] = "PRECOPY_INTERVAL_MS=",
    [PCM_V_ROOT] = "PRECOPY_ROOT=",
    [PCM_V_PIPE] = "PRECOPY_PIPE=", /* "fd:device:inode": it is verified before use */
};

static const char *const separators[PCM_VARIABLES] = {
    [PCM_V_PRELOAD] = ": ",
    [PCM_V_SANITIZER] = ":, \n\t\r",
};

/* The new environment; without `list` it is only measured. */
typedef struct {
    char **list;
    char *text;
    size_t list_room, text_room; /* that there is: entries, bytes */
    size_t count, bytes;         /* that it takes */
    bool changed;
} sheet_t;

/* Which of our variables a "NAME=value" sets, or PCM_VARIABLES. */
int
pcm_variable_of(const char *entry)
{
    for (int i = 0; i < PCM_VARIABLES; i++)
        if (strncmp(entry, pcm_variable_names[i], strlen(pcm_variable_names[i])) == 0)
            return i;
    return PCM_VARIABLES;
}

static bool
is_list(int variable)
{
    return variable == PCM_V_PRELOAD || variable == PCM_V_SANITIZER;
}

static bool
separates(int variable, char letter)
{
    for (const char *one = separators[variable]; *one != '\0'; one++)
        if (*one == letter)
            return true;
    return false;
}

static size_t
part_size(int variable, const char *text)
{
    size_t size = 0;

    while (text[size] != '\0' && !separates(variable, text[size]))
        size++;
    return size;
}

static const char *
value_of(int variable, const char *entry)
{
    return entry + strlen(pcm_variable_names[variable]);
}

/* Where in a list of parts the next one like `ours` begins, or NULL. */
static const char *
find_part(int variable, const char *value, const char *ours)
{
    size_t size = strlen(ours);

    for (;; value++) {
        size_t part = part_size(variable, value);
        if (part == size && memcmp(value, ours, size) == 0)
            return value;
        value += part;
        if (*value == '\0')
            return NULL;
    }
}

static void
put(sheet_t *sheet, const char *entry)
{
    if (sheet->list != NULL && sheet->count < sheet->list_room)
        memcpy(&sheet->list[sheet->count], &entry, sizeof(entry));
    sheet->count++;
}

/* Begin an entry that is new text. */
static void
begin(sheet_t *sheet)
{
    put(sheet, sheet->text == NULL ? "" : sheet->text + sheet->bytes);
    sheet->changed = true;
}

static void
add(sheet_t *sheet, const char *text, size_t size)
{
    if (sheet->bytes <= sheet->text_room && size <= sheet->text_room - sheet->bytes)
        memcpy(sheet->text + sheet->bytes, text, size);
    sheet->bytes += size;
}

/* A list without ours in it, every other part behind the separator that it was behind; no entry at
 * all if nothing is left. */
static void
put_without(sheet_t *sheet, int variable, const char *entry, const char *ours)
{
    const char *part = value_of(variable, entry);
    size_t count = sheet->count, bytes = sheet->bytes, size, left = 0;
    bool first = true;

    begin(sheet);
    add(sheet, entry, (size_t)(part - entry));
    for (;; part += size + 1) {
        size = part_size(variable, part);
        if (size != strlen(ours) || memcmp(part, ours, size) != 0) {
            add(sheet, part - !first, size + !first);
            left += size + !first;
            first = false;
        }
        if (part[size] == '\0')
            break;
    }
    add(sheet, "", 1);
    if (left == 0) {
        sheet->count = count;
        sheet->bytes = bytes;
    }
}

static void
put_with(sheet_t *sheet, int variable, const char *entry, const char *ours)
{
    begin(sheet);
    add(sheet, entry, strlen(entry));
    if (*value_of(variable, entry) != '\0')
        add(sheet, ":", 1);
    add(sheet, ours, strlen(ours) + 1);
}

/* One entry of the environment given. */
static void
take_over(sheet_t *sheet, const char *entry, const pcm_variables_t *ours, bool follow, bool others,
          bool has[])
{
    int variable = pcm_variable_of(entry);
    const char *own = variable == PCM_VARIABLES ? NULL : ours->entries[variable];
    bool contained;

    if (variable == PCM_VARIABLES || (own == NULL && is_list(variable)) ||
        (others && !is_list(variable) && variable != PCM_V_ROOT)) {
        put(sheet, entry);
    } else if (is_list(variable)) {
        own = value_of(variable, own);
        contained = find_part(variable, value_of(variable, entry), own) != NULL;
        has[variable] = true;
        if (follow && !contained)
            put_with(sheet, variable, entry, own);
        else if (!follow && contained)
            put_without(sheet, variable, entry, own);
        else
            put(sheet, entry);
    } else if (follow && !has[variable] &&
               (variable == PCM_V_APPLICATION || variable == PCM_V_INTERVAL ||
                (own != NULL && strcmp(own, entry) == 0))) {
        has[variable] = true;
        put(sheet, entry);
    } else {
        sheet->changed = true;
    }
}

static void
compose(sheet_t *sheet, char *const envp[], const pcm_variables_t *ours, bool follow)
{
    bool has[PCM_VARIABLES] = {false}, others = false, known = false;

    for (char *const *entry = envp; entry != NULL && *entry != NULL && !known; entry++)
        if (pcm_variable_of(*entry) == PCM_V_DIRECTORY) {
            known = true; /* what is asked for by name is the first one */
            others = strcmp(*entry, ours->entries[PCM_V_DIRECTORY]) != 0;
        }
    for (char *const *entry = envp; entry != NULL && *entry != NULL; entry++)
        take_over(sheet, *entry, ours, follow, others, has);
    for (int i = 0; follow && i < PCM_VARIABLES; i++)
        if (!has[i] && ours->entries[i] != NULL && (!others || is_list(i) || i == PCM_V_ROOT)) {
            put(sheet, ours->entries[i]);
            sheet->changed = true;
        }
    put(sheet, NULL);
}

/* Bytes that the changed environment takes; 0: it is right as it is. */
size_t
pcm_rewrite_size(char *const envp[], const pcm_variables_t *ours, bool follow)
{
    sheet_t sheet = {0};

    compose(&sheet, envp, ours, follow);
    return sheet.changed ? sheet.count * sizeof(char *) + sheet.bytes : 0;
}

/* The changed environment, in `memory` of `size` bytes; NULL: it has grown since it was measured. */
char **
pcm_rewrite(char *const envp[], const pcm_variables_t *ours, bool follow, void *memory, size_t size)
{
    sheet_t sheet = {0}, measured = {0};

    compose(&measured, envp, ours, follow);
    sheet.list = memory;
    sheet.list_room = measured.count;
    if (measured.count > size / sizeof(char *))
        return NULL;
    sheet.text = (char *)memory + measured.count * sizeof(char *);
    sheet.text_room = size - measured.count * sizeof(char *);
    if (measured.bytes > sheet.text_room)
        return NULL;
    compose(&sheet, envp, ours, follow);
    return sheet.count == measured.count && sheet.bytes == measured.bytes ? sheet.list : NULL;
}
