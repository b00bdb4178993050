/*
 * ranking.c -- files sorted once by a key that never changes: a radix sort on 64-bit keys.
 *
 * Invariant: entries enter the sort in id order and every pass is stable, so equal keys stay in id
 * order and no comparison ever looks at an id.  Digits that are the same in all keys cost nothing.
 */
#include "ranking.h"

#include <stdlib.h>
#include <string.h>

#define DIGIT_BITS 11
#define DIGIT_VALUES (1 << DIGIT_BITS)
#define DIGITS ((64 + DIGIT_BITS - 1) / DIGIT_BITS)

typedef struct {
    uint64_t key;
    uint32_t id;
} entry_t;

typedef struct {
    entry_t *from, *to;
    int64_t count;
    int64_t start[DIGITS][DIGIT_VALUES];
} sort_t;

static inline unsigned
digit_of(uint64_t key, int digit)
{
    return (unsigned)(key >> (digit * DIGIT_BITS)) & (DIGIT_VALUES - 1);
}

/* Doubles as integers of the same order; -0.0 equals 0.0. */
static uint64_t
ordered_bits(double value)
{
    uint64_t bits;
    value += 0.0;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

static uint64_t
initial_key(const pc_files_t *files, const pc_plan_t *plan, int64_t id)
{
    uint64_t size = (uint64_t)files->size_bytes[id];
    uint64_t updates = plan->history ? (uint64_t)plan->history[id] : 0;
    switch (plan->order) {
    case PC_ORDER_SIZE_ASCENDING:
        return size;
    case PC_ORDER_SIZE_DESCENDING:
        return (uint64_t)INT64_MAX - size;
    case PC_ORDER_UPDATE_FREQUENCY:
        return updates;
    case PC_ORDER_EXPECTED_UPDATE:
        return updates * size;
    case PC_ORDER_KEY:
        return ordered_bits(plan->key[id]);
    }
    return 0;
}

static void
sort_pass(sort_t *sort, int digit)
{
    int64_t *start = sort->start[digit], before = 0;
    for (int v = 0; v < DIGIT_VALUES; v++) {
        int64_t count = start[v];
        if (count == sort->count)
            return;
        start[v] = before;
        before += count;
    }
    for (int64_t i = 0; i < sort->count; i++)
        sort->to[start[digit_of(sort->from[i].key, digit)]++] = sort->from[i];
    entry_t *swap = sort->from;
    sort->from = sort->to;
    sort->to = swap;
}

/* Sort `count` entries; the result is where sort->from points afterwards. */
static void
sort_entries(sort_t *sort, entry_t *entries, entry_t *scratch, int64_t count)
{
    bool sorted = true;
    sort->from = entries;
    sort->to = scratch;
    sort->count = count;
    for (int64_t i = 1; i < count; i++)
        sorted &= entries[i - 1].key <= entries[i].key;
    if (sorted)
        return;
    memset(sort->start, 0, sizeof sort->start);
    for (int64_t i = 0; i < count; i++) {
        for (int digit = 0; digit < DIGITS; digit++)
            sort->start[digit][digit_of(entries[i].key, digit)]++;
    }
    for (int digit = 0; digit < DIGITS; digit++)
        sort_pass(sort, digit);
}

/* Give the sorted entries their ranks, from `first` on. */
static void
number_entries(pc_ranking_t *self, const pc_files_t *files, const sort_t *sort, int64_t first)
{
    for (int64_t i = 0; i < sort->count; i++) {
        uint32_t id = sort->from[i].id;
        self->rank_of[id] = (uint32_t)(first + i);
        if (self->size_bytes)
            self->size_bytes[first + i] = files->size_bytes[id];
        if (self->id_at)
            self->id_at[first + i] = id;
    }
}

static int
rank_files(pc_ranking_t *self, const pc_files_t *files, const pc_plan_t *plan)
{
    size_t n = (size_t)files->count;
    entry_t *entries = malloc(2 * n * sizeof *entries);
    sort_t *sort = malloc(sizeof *sort);
    int status = PC_ERROR_MEMORY;
    if (!entries || !sort)
        goto out;
    int64_t ranked = 0;
    for (int part = plan->read_only_first ? 1 : 0; part >= 0; part--) {
        int64_t count = 0;
        for (int64_t id = 0; id < files->count; id++) {
            entries[count].key = initial_key(files, plan, id);
            entries[count].id = (uint32_t)id;
            count += !plan->read_only_first || files->read_only[id] == part;
        }
        sort_entries(sort, entries, entries + n, count);
        number_entries(self, files, sort, ranked);
        ranked += count;
    }
    status = 0;
out:
    free(entries);
    free(sort);
    return status;
}

int
pc_ranking_init(pc_ranking_t *self, const pc_files_t *files, const pc_plan_t *plan)
{
    memset(self, 0, sizeof *self);
    self->rank_of = malloc((size_t)files->count * sizeof *self->rank_of);
    self->size_bytes = malloc((size_t)files->count * sizeof *self->size_bytes);
    return self->rank_of && self->size_bytes ? rank_files(self, files, plan) : PC_ERROR_MEMORY;
}

int
pc_ranking_by_size(pc_ranking_t *self, const pc_files_t *files)
{
    const pc_plan_t by_size = {.order = PC_ORDER_SIZE_ASCENDING};
    memset(self, 0, sizeof *self);
    self->rank_of = malloc((size_t)files->count * sizeof *self->rank_of);
    self->id_at = malloc((size_t)files->count * sizeof *self->id_at);
    return self->rank_of && self->id_at ? rank_files(self, files, &by_size) : PC_ERROR_MEMORY;
}

void
pc_ranking_free(pc_ranking_t *self)
{
    free(self->rank_of);
    free(self->size_bytes);
    free(self->id_at);
    memset(self, 0, sizeof *self);
}
