/* batch.c - what records amount to: one row each per application, path, time and process.
 *
 * Invariant: a row is found again by its key, and whatever a record says is added to one row of each
 * kind that it concerns. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../monitor/wire.h"
#include "batch.h"
#include "inside.h"
#include "look.h"
#include "rows.h"

static const char wire_text[] __attribute__((used)) = PCM_WIRE_TEXT;

static const size_t row_sizes[PCB_KINDS] = {
    [PCB_APPS] = sizeof(pcb_text_t),      [PCB_ACCESSES] = sizeof(pcb_access_t),
    [PCB_BUCKETS] = sizeof(pcb_bucket_t), [PCB_PROCESSES] = sizeof(pcb_process_t),
    [PCB_RENAMES] = sizeof(pcb_rename_t), [PCB_MOVES] = sizeof(pcb_move_t),
};

static bool
text_equal(const pcb_batch_t *self, pcb_text_t text, const void *data, size_t size)
{
    return text.size == size && memcmp(self->text + text.offset, data, size) == 0;
}

static bool
text_append(pcb_batch_t *self, pcb_text_t *text, const void *data, size_t size)
{
    if (!pcb_reserve(&self->text, &self->text_capacity, self->text_size + size + 1, 1))
        return false;
    memcpy(self->text + self->text_size, data, size);
    text->offset = self->text_size;
    text->size = size;
    self->text_size += size;
    return true;
}

static int64_t
find_app(pcb_batch_t *self, const unsigned char *name, size_t size)
{
    pcb_rows_t *rows = &self->rows[PCB_APPS];
    uint64_t hash = pcb_hash(0, name, size), at = hash;
    pcb_text_t *row;

    while ((row = pcb_rows_next(rows, hash, &at)) != NULL)
        if (text_equal(self, *row, name, size))
            return (int64_t)pcb_rows_index(rows, row);
    row = pcb_rows_append(rows, hash);
    if (row == NULL || !text_append(self, row, name, size))
        return -1;
    return (int64_t)pcb_rows_index(rows, row);
}

static void
widen(uint64_t *first_ns, uint64_t *last_ns, const pcm_record_t *record)
{
    if (*first_ns == 0 || record->first_ns < *first_ns)
        *first_ns = record->first_ns;
    if (record->last_ns > *last_ns)
        *last_ns = record->last_ns;
}

static pcb_access_t *
find_access(pcb_batch_t *self, uint64_t app, const unsigned char *path, size_t size)
{
    pcb_rows_t *rows = &self->rows[PCB_ACCESSES];
    uint64_t hash = pcb_hash(app + 1, path, size), at = hash;
    pcb_access_t *row;

    while ((row = pcb_rows_next(rows, hash, &at)) != NULL)
        if (row->app == app && text_equal(self, row->path, path, size))
            return row;
    row = pcb_rows_append(rows, hash);
    if (row == NULL || !text_append(self, &row->path, path, size))
        return NULL;
    row->app = app;
    return row;
}

static bool
add_bucket(pcb_batch_t *self, uint64_t access, const pcm_record_t *record)
{
    pcb_rows_t *rows = &self->rows[PCB_BUCKETS];
    uint64_t key[2] = {access, record->last_ns / self->bucket_ns};
    uint64_t hash = pcb_hash(0, key, sizeof(key)), at = hash;
    pcb_bucket_t *row;

    while ((row = pcb_rows_next(rows, hash, &at)) != NULL)
        if (row->access == key[0] && row->bucket == key[1])
            break;
    if (row == NULL && (row = pcb_rows_append(rows, hash)) == NULL)
        return false;
    row->access = key[0];
    row->bucket = key[1];
    row->writes += record->writes;
    row->changes += record->changes;
    row->bytes += record->bytes;
    if (record->last_ns > row->last_ns)
        row->last_ns = record->last_ns;
    if ((record->use & PCM_REMOVED) != 0 && record->last_ns > row->removed_ns)
        row->removed_ns = record->last_ns;
    return true;
}

static void
note_file(pcb_access_t *row, const pcm_record_t *record)
{
    if (record->identity != 0 && record->last_ns >= row->identity_ns) {
        row->identity = record->identity;
        row->identity_ns = record->last_ns;
    }
    if (record->born_ns > row->born_ns)
        row->born_ns = record->born_ns;
    if (record->length != 0 && (row->length_ns == 0 || record->first_ns < row->length_ns)) {
        row->length = record->length;
        row->length_ns = record->first_ns;
        row->length_born_ns = record->born_ns;
    }
}

/* The row's number, or -1. */
static int64_t
add_access(pcb_batch_t *self, uint64_t app, const pcm_record_t *record, const unsigned char *path)
{
    pcb_access_t *row = find_access(self, app, path, record->path_size);
    uint64_t number;

    if (row == NULL)
        return -1;
    number = pcb_rows_index(&self->rows[PCB_ACCESSES], row);
    row->use |= record->use;
    row->opens += record->opens;
    row->writes += record->writes;
    row->changes += record->changes;
    row->bytes += record->bytes;
    widen(&row->first_ns, &row->last_ns, record);
    note_file(row, record);
    if ((record->writes != 0 || record->changes != 0) && !add_bucket(self, number, record))
        return -1;
    return (int64_t)number;
}

/* Every record tells of a process; only a PROCESS record knows its command. */
static bool
add_process(pcb_batch_t *self, uint64_t app, const pcm_record_t *record, const unsigned char *path)
{
    pcb_rows_t *rows = &self->rows[PCB_PROCESSES];
    uint64_t key[3] = {app, record->pid, record->start_time};
    uint64_t hash = pcb_hash(0, key, sizeof(key)), at = hash;
    pcb_process_t *row;

    while ((row = pcb_rows_next(rows, hash, &at)) != NULL)
        if (row->app == app && row->pid == record->pid && row->start_time == record->start_time)
            break;
    if (row == NULL && (row = pcb_rows_append(rows, hash)) == NULL)
        return false;
    row->app = app;
    row->pid = record->pid;
    row->start_time = record->start_time;
    widen(&row->first_ns, &row->last_ns, record);
    return record->kind != PCM_KIND_PROCESS || record->path_size == 0 ||
           text_append(self, &row->command, path, record->path_size);
}

static bool
add_rename(pcb_batch_t *self, uint64_t app, const pcm_record_t *record, const unsigned char *names)
{
    pcb_rename_t *row = pcb_rows_append(&self->rows[PCB_RENAMES], self->records);

    if (row == NULL)
        return false;
    row->app = app;
    row->time_ns = record->last_ns;
    return text_append(self, &row->names, names, record->path_size);
}

/* Both names were changed; what is told of the file is of the new one. */
static bool
add_move(pcb_batch_t *self, uint64_t app, const pcm_record_t *record, const unsigned char *names)
{
    const unsigned char *end = memchr(names, '\0', record->path_size);
    size_t old_size = end == NULL ? 0 : (size_t)(end - names);
    pcm_record_t old = *record, new = *record;
    int64_t old_access, new_access;
    pcb_move_t *row;

    if (end == NULL)
        return true;
    old.path_size = (uint16_t)old_size;
    old.identity = old.born_ns = old.length = 0;
    if ((record->use & PCM_LINKED) != 0) {
        old.use = PCM_LOOKED;
        old.changes = 0;
    }
    new.path_size = (uint16_t)(record->path_size - old_size - 1);
    new.length = 0;
    old_access = add_access(self, app, &old, names);
    new_access = add_access(self, app, &new, end + 1);
    row = pcb_rows_append(&self->rows[PCB_MOVES], self->records);
    if (old_access < 0 || new_access < 0 || row == NULL)
        return false;
    row->old_access = (uint64_t)old_access;
    row->new_access = (uint64_t)new_access;
    row->time_ns = record->last_ns;
    row->linked = (record->use & PCM_LINKED) != 0;
    row->length = record->length;
    return true;
}

/* Each name of a directory as if it had come by itself. */
static bool
add_told(pcb_batch_t *self, uint64_t app, pcm_record_t record, const unsigned char *names)
{
    const unsigned char *end = names + record.path_size, *name, *next;
    const unsigned char *base = memchr(names, '\0', record.path_size);
    unsigned char path[UINT16_MAX];

    if (base == NULL)
        return true;
    memcpy(path, names, (size_t)(base - names));
    for (name = base + 1; name <= end; name = next + 1) {
        next = name == end ? NULL : memchr(name, '\0', (size_t)(end - name));
        if (next == NULL)
            next = end;
        record.path_size = (uint16_t)(base - names + (next - name));
        memcpy(path + (base - names), name, (size_t)(next - name));
        if (add_access(self, app, &record, path) < 0)
            return false;
    }
    return true;
}

static bool
add_record(pcb_batch_t *self, const pcm_record_t *record, const unsigned char *names)
{
    int64_t app = find_app(self, names, record->app_size);
    const unsigned char *path = names + record->app_size;

    if (app < 0 || !add_process(self, (uint64_t)app, record, path))
        return false;
    self->records++;
    if (record->lost > self->lost)
        self->lost = record->lost;
    if (record->kind == PCM_KIND_ACCESS)
        return add_access(self, (uint64_t)app, record, path) >= 0;
    if (record->kind == PCM_KIND_TOLD)
        return add_told(self, (uint64_t)app, *record, path);
    if (record->kind == PCM_KIND_MOVED)
        return add_move(self, (uint64_t)app, record, path);
    if (record->kind == PCM_KIND_RENAMED)
        return add_rename(self, (uint64_t)app, record, path);
    return true;
}

/* 1: a record begins here and is complete; 0: its end is not there yet; -1: it is none. */
static int
examine(const unsigned char *data, size_t size, pcm_record_t *record)
{
    const uint32_t magic = PCM_MAGIC;
    size_t start = offsetof(pcm_record_t, size);

    if (memcmp(data, &magic, size < sizeof(magic) ? size : sizeof(magic)) != 0)
        return -1;
    if (size < sizeof(*record))
        return 0;
    memcpy(record, data, sizeof(*record));
    if (record->size != sizeof(*record) + record->app_size + record->path_size)
        return -1;
    if (record->size > size)
        return 0;
    return pcm_adler32(1, data + start, record->size - start) == record->check ? 1 : -1;
}

/* Whether a record begins here that another version's monitor wrote: all versions begin alike. */
static bool
is_foreign(const unsigned char *data, size_t size)
{
    const uint32_t magic = PCM_MAGIC;

    return size >= sizeof(magic) && memcmp(data, &magic, sizeof(magic) - 1) == 0 &&
           data[3] != '3' && data[3] >= '1' && data[3] <= '9';
}

EXPORT int64_t
pcb_add(pcb_batch_t *self, const unsigned char *data, size_t size)
{
    size_t at = 0;
    bool in_damage = false;

    while (at < size) {
        pcm_record_t record;
        int found = examine(data + at, size - at, &record);
        if (found == 0)
            break;
        if (found < 0 && is_foreign(data + at, size - at))
            self->foreign++;
        else
            self->damaged += found < 0 && !in_damage;
        in_damage = found < 0;
        if (found > 0 && !add_record(self, &record, data + at + sizeof(record)))
            return -1;
        at += found > 0 ? record.size : 1;
    }
    return (int64_t)at;
}

EXPORT pcb_batch_t *
pcb_new(uint64_t bucket_ns)
{
    pcb_batch_t *self = calloc(1, sizeof(*self));

    if (self == NULL)
        return NULL;
    self->bucket_ns = bucket_ns;
    for (int i = 0; i < PCB_KINDS; i++)
        self->rows[i].row_size = row_sizes[i];
    return self;
}

EXPORT void
pcb_free(pcb_batch_t *self)
{
    if (self == NULL)
        return;
    for (int i = 0; i < PCB_KINDS; i++) {
        free(self->rows[i].row);
        free(self->rows[i].hashes);
        free(self->rows[i].slots);
    }
    free(self->text);
    free(self);
}

EXPORT void
pcb_look(pcb_batch_t *self)
{
    const pcb_bucket_t *bucket = (const pcb_bucket_t *)(const void *)self->rows[PCB_BUCKETS].row;
    pcb_access_t *access = (pcb_access_t *)(void *)self->rows[PCB_ACCESSES].row;

    for (uint64_t i = 0; i < self->rows[PCB_BUCKETS].count; i++) {
        pcb_access_t *row = &access[bucket[i].access];
        if (row->looked_ns == 0 && (row->use & (PCM_DIRECTORY | PCM_LINK)) == 0)
            pcb_look_at(row, self->text + row->path.offset);
    }
}
