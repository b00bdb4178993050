/* batch.c - the rows of a batch and how they are found again.
 *
 * Invariant: each kind of row has one array and one hash table of row numbers, of a power of two
 * slots and at most half full; a slot holds row number + 1, and 0 if it is free. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../monitor/wire.h"
#include "journal.h"

#define EXPORT __attribute__((visibility("default")))

typedef struct {
    char *row;
    size_t row_size, count, capacity;
    uint64_t *hashes; /* per row */
    uint32_t *slots;
    size_t slot_count;
} rows_t;

struct pcj_batch {
    rows_t rows[PCJ_KINDS];
    char *text;
    size_t text_size, text_capacity;
    uint64_t bucket_ns, records, damaged, lost;
};

static const size_t row_sizes[PCJ_KINDS] = {
    [PCJ_APPS] = sizeof(pcj_text_t),      [PCJ_ACCESSES] = sizeof(pcj_access_t),
    [PCJ_BUCKETS] = sizeof(pcj_bucket_t), [PCJ_PROCESSES] = sizeof(pcj_process_t),
    [PCJ_RENAMES] = sizeof(pcj_rename_t),
};

/* Make `*memory` hold `needed` items of `size` bytes. */
static bool
reserve(void *memory, size_t *capacity, size_t needed, size_t size)
{
    void *old, *grown;
    size_t more = *capacity == 0 ? 64 : *capacity;

    if (needed <= *capacity)
        return true;
    while (more < needed)
        more *= 2;
    memcpy(&old, memory, sizeof(old));
    grown = realloc(old, more * size);
    if (grown == NULL)
        return false;
    memcpy(memory, &grown, sizeof(grown));
    *capacity = more;
    return true;
}

static uint64_t
hash_bytes(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *byte = data;
    uint64_t word;

    for (; size >= sizeof(word); size -= sizeof(word), byte += sizeof(word)) {
        memcpy(&word, byte, sizeof(word));
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    word = size;
    memcpy(&word, byte, size);
    hash = (hash ^ word ^ size << 56) * 0xff51afd7ed558ccdu;
    return hash ^ hash >> 29;
}

static bool
grow_slots(rows_t *rows)
{
    size_t slot_count = rows->slot_count == 0 ? 128 : rows->slot_count * 2;
    uint32_t *slots = calloc(slot_count, sizeof(*slots));

    if (slots == NULL)
        return false;
    for (size_t i = 0; i < rows->count; i++) {
        size_t at = rows->hashes[i] & (slot_count - 1);
        while (slots[at] != 0)
            at = (at + 1) & (slot_count - 1);
        slots[at] = (uint32_t)(i + 1);
    }
    free(rows->slots);
    rows->slots = slots;
    rows->slot_count = slot_count;
    return true;
}

/* Append a zeroed row; NULL: no memory. */
static void *
append_row(rows_t *rows, uint64_t hash)
{
    size_t capacity = rows->capacity;
    void *row;

    if (rows->count >= UINT32_MAX - 1 || !reserve(&rows->hashes, &capacity, rows->count + 1, 8) ||
        !reserve(&rows->row, &rows->capacity, rows->count + 1, rows->row_size))
        return NULL;
    if (rows->count * 2 >= rows->slot_count && !grow_slots(rows))
        return NULL;
    size_t at = hash & (rows->slot_count - 1);
    while (rows->slots[at] != 0)
        at = (at + 1) & (rows->slot_count - 1);
    rows->hashes[rows->count] = hash;
    rows->slots[at] = (uint32_t)++rows->count;
    row = rows->row + (rows->count - 1) * rows->row_size;
    memset(row, 0, rows->row_size);
    return row;
}

/* Iterate over the rows with this hash: start with `*at` = hash. */
static void *
next_candidate(const rows_t *rows, uint64_t hash, uint64_t *at)
{
    uint32_t number;

    if (rows->slot_count == 0)
        return NULL;
    while ((number = rows->slots[*at & (rows->slot_count - 1)]) != 0) {
        ++*at;
        if (rows->hashes[number - 1] == hash)
            return rows->row + (number - 1) * rows->row_size;
    }
    return NULL;
}

static uint64_t
index_of(const rows_t *rows, const void *row)
{
    return (uint64_t)((const char *)row - rows->row) / rows->row_size;
}

static bool
text_equal(const pcj_batch_t *self, pcj_text_t text, const void *data, size_t size)
{
    return text.size == size && memcmp(self->text + text.offset, data, size) == 0;
}

static bool
text_append(pcj_batch_t *self, pcj_text_t *text, const void *data, size_t size)
{
    if (!reserve(&self->text, &self->text_capacity, self->text_size + size + 1, 1))
        return false;
    memcpy(self->text + self->text_size, data, size);
    text->offset = self->text_size;
    text->size = size;
    self->text_size += size;
    return true;
}

static int64_t
find_app(pcj_batch_t *self, const unsigned char *name, size_t size)
{
    rows_t *rows = &self->rows[PCJ_APPS];
    uint64_t hash = hash_bytes(0, name, size), at = hash;
    pcj_text_t *row;

    while ((row = next_candidate(rows, hash, &at)) != NULL)
        if (text_equal(self, *row, name, size))
            return (int64_t)index_of(rows, row);
    row = append_row(rows, hash);
    if (row == NULL || !text_append(self, row, name, size))
        return -1;
    return (int64_t)index_of(rows, row);
}

static void
widen(uint64_t *first_ns, uint64_t *last_ns, const pcm_record_t *record)
{
    if (*first_ns == 0 || record->first_ns < *first_ns)
        *first_ns = record->first_ns;
    if (record->last_ns > *last_ns)
        *last_ns = record->last_ns;
}

static pcj_access_t *
find_access(pcj_batch_t *self, uint64_t app, const unsigned char *path, size_t size)
{
    rows_t *rows = &self->rows[PCJ_ACCESSES];
    uint64_t hash = hash_bytes(app + 1, path, size), at = hash;
    pcj_access_t *row;

    while ((row = next_candidate(rows, hash, &at)) != NULL)
        if (row->app == app && text_equal(self, row->path, path, size))
            return row;
    row = append_row(rows, hash);
    if (row == NULL || !text_append(self, &row->path, path, size))
        return NULL;
    row->app = app;
    return row;
}

static bool
add_bucket(pcj_batch_t *self, uint64_t access, const pcm_record_t *record)
{
    rows_t *rows = &self->rows[PCJ_BUCKETS];
    uint64_t key[2] = {access, record->last_ns / self->bucket_ns};
    uint64_t hash = hash_bytes(0, key, sizeof(key)), at = hash;
    pcj_bucket_t *row;

    while ((row = next_candidate(rows, hash, &at)) != NULL)
        if (row->access == key[0] && row->bucket == key[1])
            break;
    if (row == NULL && (row = append_row(rows, hash)) == NULL)
        return false;
    row->access = key[0];
    row->bucket = key[1];
    row->writes += record->writes;
    row->changes += record->changes;
    row->bytes += record->bytes;
    return true;
}

static bool
add_access(pcj_batch_t *self, uint64_t app, const pcm_record_t *record, const unsigned char *path)
{
    pcj_access_t *row = find_access(self, app, path, record->path_size);

    if (row == NULL)
        return false;
    row->use |= record->use;
    row->opens += record->opens;
    row->writes += record->writes;
    row->changes += record->changes;
    row->bytes += record->bytes;
    widen(&row->first_ns, &row->last_ns, record);
    if (record->identity != 0 && record->last_ns >= row->identity_ns) {
        row->identity = record->identity;
        row->identity_ns = record->last_ns;
    }
    if (record->writes == 0 && record->changes == 0)
        return true;
    return add_bucket(self, index_of(&self->rows[PCJ_ACCESSES], row), record);
}

/* Every record tells of a process; only a PROCESS record knows its command. */
static bool
add_process(pcj_batch_t *self, uint64_t app, const pcm_record_t *record, const unsigned char *path)
{
    rows_t *rows = &self->rows[PCJ_PROCESSES];
    uint64_t key[3] = {app, record->pid, record->start_time};
    uint64_t hash = hash_bytes(0, key, sizeof(key)), at = hash;
    pcj_process_t *row;

    while ((row = next_candidate(rows, hash, &at)) != NULL)
        if (row->app == app && row->pid == record->pid && row->start_time == record->start_time)
            break;
    if (row == NULL && (row = append_row(rows, hash)) == NULL)
        return false;
    row->app = app;
    row->pid = record->pid;
    row->start_time = record->start_time;
    widen(&row->first_ns, &row->last_ns, record);
    return record->kind != PCM_KIND_PROCESS || record->path_size == 0 ||
           text_append(self, &row->command, path, record->path_size);
}

static bool
add_rename(pcj_batch_t *self, uint64_t app, const pcm_record_t *record, const unsigned char *names)
{
    pcj_rename_t *row = append_row(&self->rows[PCJ_RENAMES], self->records);

    if (row == NULL)
        return false;
    row->app = app;
    row->time_ns = record->last_ns;
    return text_append(self, &row->names, names, record->path_size);
}

static bool
add_record(pcj_batch_t *self, const pcm_record_t *record, const unsigned char *names)
{
    int64_t app = find_app(self, names, record->app_size);
    const unsigned char *path = names + record->app_size;

    if (app < 0 || !add_process(self, (uint64_t)app, record, path))
        return false;
    self->records++;
    if (record->lost > self->lost)
        self->lost = record->lost;
    if (record->kind == PCM_KIND_ACCESS)
        return add_access(self, (uint64_t)app, record, path);
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

EXPORT int64_t
pcj_add(pcj_batch_t *self, const unsigned char *data, size_t size)
{
    size_t at = 0;
    bool in_damage = false;

    while (at < size) {
        pcm_record_t record;
        int found = examine(data + at, size - at, &record);
        if (found == 0)
            break;
        self->damaged += found < 0 && !in_damage;
        in_damage = found < 0;
        if (found > 0 && !add_record(self, &record, data + at + sizeof(record)))
            return -1;
        at += found > 0 ? record.size : 1;
    }
    return (int64_t)at;
}

EXPORT pcj_batch_t *
pcj_new(uint64_t bucket_ns)
{
    pcj_batch_t *self = calloc(1, sizeof(*self));

    if (self == NULL)
        return NULL;
    self->bucket_ns = bucket_ns;
    for (int i = 0; i < PCJ_KINDS; i++)
        self->rows[i].row_size = row_sizes[i];
    return self;
}

EXPORT void
pcj_free(pcj_batch_t *self)
{
    if (self == NULL)
        return;
    for (int i = 0; i < PCJ_KINDS; i++) {
        free(self->rows[i].row);
        free(self->rows[i].hashes);
        free(self->rows[i].slots);
    }
    free(self->text);
    free(self);
}

EXPORT uint64_t
pcj_records(const pcj_batch_t *self)
{
    return self->records;
}

EXPORT uint64_t
pcj_damaged(const pcj_batch_t *self)
{
    return self->damaged;
}

EXPORT uint64_t
pcj_lost(const pcj_batch_t *self)
{
    return self->lost;
}

EXPORT uint64_t
pcj_count(const pcj_batch_t *self, int rows)
{
    return self->rows[rows].count;
}

EXPORT const void *
pcj_rows(const pcj_batch_t *self, int rows)
{
    return self->rows[rows].row;
}

EXPORT const char *
pcj_text(const pcj_batch_t *self)
{
    return self->text;
}

EXPORT uint64_t
pcj_text_size(const pcj_batch_t *self)
{
    return self->text_size;
}
