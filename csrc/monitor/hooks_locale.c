/* hooks_locale.c - message catalogs and locales in directories that the application chose.
 *
 * libc opens them when it needs them, out of sight; which one that will be follows from the names.
 * Invariant: only files that exist are reported, the first of those that libc would try. */
#define _GNU_SOURCE
#include <ctype.h>
#include <libintl.h>
#include <limits.h>
#include <locale.h>
#include <nl_types.h>
#include <stdlib.h>
#include <string.h>

#include "hooks.h"
#include "identity.h"
#include "names.h"
#include "real.h"
#include "report.h"
#include "slots.h"
#include "state.h"
#include "wire.h"

#include "rules.h"

#define MOST_DOMAINS 32
#define TEXT_MAX 256

typedef struct {
    char domain[64], directory[TEXT_MAX];
} catalog_t;

static catalog_t catalogs[MOST_DOMAINS];
static _Atomic uint32_t catalog_count;

/* A text that is put together, and never longer than its buffer. */
typedef struct {
    char *text;
    size_t size, room;
} builder_t;

static void
add(builder_t *self, const char *text, size_t size)
{
    if (size >= self->room - self->size) {
        self->size = 0;
        self->room = 1; /* too long: nothing at all */
    } else {
        memcpy(self->text + self->size, text, size);
        self->size += size;
    }
    self->text[self->size] = '\0';
}

static void
add_text(builder_t *self, const char *text)
{
    add(self, text, strlen(text));
}

/* Report a file, if it is there. */
static bool
on_file(const builder_t *path)
{
    pcm_file_t file;

    if (path->size == 0 || pcm_find_file(AT_FDCWD, path->text, 0, &file) != 0 ||
        !S_ISREG(file.mode))
        return false;
    pcm_on_target(AT_FDCWD, path->text, 0, (pcm_event_t){.use = PCM_READ, .opens = 1});
    return true;
}

/* The parts of language[_territory][.codeset][@modifier]. */
typedef struct {
    const char *at[4];
    size_t size[4];
} locale_parts_t;

static locale_parts_t
parts_of(const char *name, size_t size)
{
    static const char marks[] = {'\0', '_', '.', '@'};
    locale_parts_t parts = {{name, name, name, name}, {0, 0, 0, 0}};
    int part = 0;

    for (size_t i = 0; i < size; i++) {
        for (int next = part + 1; next < 4; next++)
            if (name[i] == marks[next]) {
                part = next;
                parts.at[part] = name + i;
                break;
            }
        parts.size[part]++;
    }
    return parts;
}

/* A codeset as libc writes it, too: small letters and digits only. */
static void
add_plain_codeset(builder_t *self, const char *text, size_t size)
{
    add(self, ".", 1);
    for (size_t i = 1; i < size; i++)
        if (isalnum((unsigned char)text[i]))
            add(self, &(char){(char)tolower((unsigned char)text[i])}, 1);
}

/* Add the parts that `which` has a bit for; bit 4: the codeset in its plain form. */
static void
add_locale(builder_t *self, const locale_parts_t *parts, unsigned which)
{
    for (int i = 0; i < 4; i++) {
        if ((which & 1u << i) == 0)
            continue;
        if (i == 2 && (which & 16u) != 0)
            add_plain_codeset(self, parts->at[i], parts->size[i]);
        else
            add(self, parts->at[i], parts->size[i]);
    }
}

/* Report `<directory>/<locale><rest>` for the first form of a locale's name that has it. */
static bool
on_locale_file(const char *directory, size_t directory_size, const char *name, size_t size,
               const char *rest)
{
    static const unsigned forms[] = {15, 31, 11, 13, 29, 9, 7, 23, 3, 5, 21, 1};
    locale_parts_t parts = parts_of(name, size);
    char *buffer = pcm_scratch_acquire();
    bool found = false;

    for (size_t i = 0; buffer != NULL && !found && i < sizeof(forms) / sizeof(forms[0]); i++) {
        builder_t path = {.text = buffer, .room = PATH_MAX};
        add(&path, directory, directory_size);
        add(&path, "/", 1);
        add_locale(&path, &parts, forms[i]);
        add_text(&path, rest);
        found = on_file(&path);
    }
    pcm_scratch_release(buffer);
    return found;
}

/* Call `each` for the parts of a list with ':' between them, until one says that this was it. */
static void
for_each(const char *list, bool (*each)(const char *part, size_t size, const void *context),
         const void *context)
{
    size_t size;

    for (; list != NULL; list = list[size] == ':' ? list + size + 1 : NULL) {
        for (size = 0; list[size] != '\0' && list[size] != ':';)
            size++;
        if (size > 0 && each(list, size, context))
            return;
    }
}

static bool
on_language(const char *language, size_t size, const void *context)
{
    const catalog_t *catalog = context;
    char rest[sizeof("/LC_MESSAGES/.mo") + sizeof(catalog->domain)];
    builder_t text = {.text = rest, .room = sizeof(rest)};

    add_text(&text, "/LC_MESSAGES/");
    add_text(&text, catalog->domain);
    add_text(&text, ".mo");
    on_locale_file(catalog->directory, strlen(catalog->directory), language, size, rest);
    return false;
}

/* The catalog that messages of a domain come from. */
static void
on_catalog(const catalog_t *catalog)
{
    const char *locale = PCM_REAL(setlocale)(LC_MESSAGES, NULL), *languages = getenv("LANGUAGE");

    if (locale == NULL || strcmp(locale, "C") == 0 || strcmp(locale, "POSIX") == 0)
        return;
    for_each(languages != NULL && languages[0] != '\0' ? languages : locale, on_language, catalog);
}

static bool
is_bound(const char *domain, const char *directory)
{
    uint32_t count = atomic_load(&catalog_count);

    for (uint32_t i = 0; i < count && i < MOST_DOMAINS; i++)
        if (strcmp(catalogs[i].domain, domain) == 0 &&
            strcmp(catalogs[i].directory, directory) == 0)
            return true;
    return false;
}

PCM_EXPORT char *
bindtextdomain(const char *domain, const char *directory)
{
    char *bound = PCM_REAL(bindtextdomain)(domain, directory);
    uint32_t index;

    if (bound == NULL || directory == NULL ||
        !atomic_load_explicit(&pcm_active, memory_order_relaxed) || is_bound(domain, bound))
        return bound;
    index = atomic_fetch_add(&catalog_count, 1);
    if (index >= MOST_DOMAINS || strlen(domain) >= sizeof(catalogs[0].domain) ||
        strlen(bound) >= sizeof(catalogs[0].directory)) {
        pcm_mark_lost(PCM_LOST_MEMORY);
        return bound;
    }
    memcpy(catalogs[index].directory, bound, strlen(bound) + 1);
    memcpy(catalogs[index].domain, domain, strlen(domain) + 1);
    on_catalog(&catalogs[index]);
    return bound;
}

/* Files of locales below the directories that LOCPATH names. */
typedef struct {
    const char *name;
    size_t category;
} wanted_t;

static const struct {
    int category;
    const char *file;
} categories[] = {
    {LC_CTYPE, "/LC_CTYPE"},
    {LC_NUMERIC, "/LC_NUMERIC"},
    {LC_TIME, "/LC_TIME"},
    {LC_COLLATE, "/LC_COLLATE"},
    {LC_MONETARY, "/LC_MONETARY"},
    {LC_MESSAGES, "/LC_MESSAGES/SYS_LC_MESSAGES"},
    {LC_PAPER, "/LC_PAPER"},
    {LC_NAME, "/LC_NAME"},
    {LC_ADDRESS, "/LC_ADDRESS"},
    {LC_TELEPHONE, "/LC_TELEPHONE"},
    {LC_MEASUREMENT, "/LC_MEASUREMENT"},
    {LC_IDENTIFICATION, "/LC_IDENTIFICATION"},
};
#define CATEGORIES (sizeof(categories) / sizeof(categories[0]))

static bool
on_locale_directory(const char *directory, size_t size, const void *context)
{
    const wanted_t *wanted = context;

    return on_locale_file(directory, size, wanted->name, strlen(wanted->name),
                          categories[wanted->category].file);
}

PCM_EXPORT char *
setlocale(int category, const char *name)
{
    char *now = PCM_REAL(setlocale)(category, name);
    uint32_t count = atomic_load(&catalog_count);

    if (now == NULL || name == NULL || !atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return now;
    for (size_t i = 0; i < CATEGORIES && getenv("LOCPATH") != NULL; i++) {
        wanted_t wanted = {PCM_REAL(setlocale)(categories[i].category, NULL), i};
        if (category == LC_ALL || category == categories[i].category)
            for_each(getenv("LOCPATH"), on_locale_directory, &wanted);
    }
    for (uint32_t i = 0; i < count && i < MOST_DOMAINS; i++)
        on_catalog(&catalogs[i]);
    return now;
}

PCM_EXPORT locale_t
newlocale(int mask, const char *name, locale_t base)
{
    locale_t made = PCM_REAL(newlocale)(mask, name, base);

    for (size_t i = 0; made != NULL && i < CATEGORIES && getenv("LOCPATH") != NULL; i++) {
        wanted_t wanted = {made->__names[categories[i].category], i};
        if ((mask & 1 << categories[i].category) != 0 &&
            atomic_load_explicit(&pcm_active, memory_order_relaxed))
            for_each(getenv("LOCPATH"), on_locale_directory, &wanted);
    }
    return made;
}

/* One place of NLSPATH, in which %N stands for the catalog, %L for the locale, and %l, %t and %c
 * for its parts. */
static bool
on_place(const char *place, size_t size, const void *context)
{
    const char *locale = PCM_REAL(setlocale)(LC_MESSAGES, NULL), *name = context;
    locale_parts_t parts = parts_of(locale, strlen(locale));
    char *buffer = pcm_scratch_acquire();
    builder_t path = {.text = buffer, .room = PATH_MAX};
    bool found;

    if (buffer == NULL)
        return true;
    for (size_t i = 0; i < size; i++) {
        char what = place[i] == '%' && i + 1 < size ? place[++i] : '\0';
        if (what == 'N')
            add_text(&path, name);
        else if (what == 'L')
            add_text(&path, locale);
        else if (what == 'l')
            add(&path, parts.at[0], parts.size[0]);
        else if ((what == 't' && parts.size[1] > 0) || (what == 'c' && parts.size[2] > 0))
            add(&path, parts.at[what == 't' ? 1 : 2] + 1, parts.size[what == 't' ? 1 : 2] - 1);
        else if (what == '\0' || what == '%')
            add(&path, place + i, 1);
    }
    found = on_file(&path);
    pcm_scratch_release(buffer);
    return found;
}

PCM_EXPORT nl_catd
catopen(const char *name, int flag)
{
    nl_catd catalog = PCM_REAL(catopen)(name, flag);
    const char *places = getenv("NLSPATH");

    if (catalog == (nl_catd)-1 || !atomic_load_explicit(&pcm_active, memory_order_relaxed))
        return catalog;
    if (strchr(name, '/') != NULL)
        pcm_on_target(AT_FDCWD, name, 0, (pcm_event_t){.use = PCM_READ, .opens = 1});
    else if (places != NULL)
        for_each(places, on_place, name);
    return catalog;
}
